// Follows an apply while it runs: the server renders, this puts what is new in the place of what was.

const box = document.getElementById("apply");
const source = box?.dataset.live ? new EventSource(box.dataset.live) : null;

// Pages are fetched one at a time; what happens meanwhile is in the next one.
let isBusy = false;
let isStale = false;

async function refresh() {
  if (isBusy) {
    isStale = true;
    return;
  }
  isBusy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("apply");
    if (fresh) replace(fresh);
    if (fresh && !fresh.dataset.live) {
      source.close();
      const head = page.querySelector(".page-head .state");
      if (head) document.querySelector(".page-head .state")?.replaceWith(head);
    }
  } finally {
    isBusy = false;
    if (isStale) {
      isStale = false;
      setTimeout(refresh, 250);
    }
  }
}

// Only what differs is replaced, so that focus and selection stay where they are.
function replace(fresh) {
  const now = [...box.children];
  const next = [...fresh.children];
  if (now.length !== next.length) {
    box.replaceChildren(...next);
    return;
  }
  now.forEach((old, index) => {
    if (!old.isEqualNode(next[index])) old.replaceWith(next[index]);
  });
}

source?.addEventListener("apply", refresh);
