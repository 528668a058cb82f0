"""What was measured, as Markdown: a table for each workload, and the figures that the project aims at."""

import statistics


def median(values):
    return statistics.median(values) if values else None


def show(value):
    if value is None:
        return "–"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


class Results:
    """Rows of `{work, peer, rep, …}`."""

    def __init__(self, rows):
        self.rows = rows

    def of(self, work, peer, key):
        """Values by repetition."""
        return {
            row["rep"]: row[key]
            for row in self.rows
            if row["work"] == work and row["peer"] == peer and isinstance(row.get(key), (int, float))
        }

    def ratios(self, work, peer, other, key):
        """Paired inside a repetition, so that a slow moment of the machine meets both."""
        mine, others = self.of(work, peer, key), self.of(work, other, key)
        return [mine[rep] / others[rep] for rep in mine if others.get(rep)]

    def ratio(self, work, peer, other, key):
        return median(self.ratios(work, peer, other, key))

    def peers(self, work):
        return list(dict.fromkeys(row["peer"] for row in self.rows if row["work"] == work))

    def works(self):
        return list(dict.fromkeys(row["work"] for row in self.rows))


def repeated(results, work, value, reference):
    shown = [key for key in ("gib_s", "per_s", "p50_us", "p99_us") if any(results.of(work, p, key) for p in results.peers(work))]
    print(
        "| peer | " + " | ".join(shown) + f" | {value} min–max | ÷ direct | ÷ {reference} | (min–max) "
        "| CPU/unit | CPU ÷ | machine CPU/unit | errors |"
    )
    print("|---" * (len(shown) + 9) + "|")
    for peer in results.peers(work):
        values = list(results.of(work, peer, value).values())
        ratios = results.ratios(work, peer, reference, value)
        errors = sum(row.get("lost", 0) + row.get("errors", 0) for row in results.rows if (row["work"], row["peer"]) == (work, peer))
        broken = [row["error"] for row in results.rows if (row["work"], row["peer"]) == (work, peer) and row.get("error")]
        cells = [show(median(list(results.of(work, peer, key).values()))) for key in shown]
        cells.append(f"{show(min(values))}–{show(max(values))}" if values else "–")
        cells.append(show(results.ratio(work, peer, "direct", value)))
        cells.append(show(median(ratios)))
        cells.append(f"{show(min(ratios))}–{show(max(ratios))}" if ratios else "–")
        cells.append(show(median(list(results.of(work, peer, "cpu_each").values()))))
        cells.append(show(results.ratio(work, peer, reference, "cpu_each")))
        cells.append(show(median(list(results.of(work, peer, "machine_each").values()))))
        cells.append(broken[0] if broken else str(errors))
        print(f"| {peer} | " + " | ".join(cells) + " |")


def listed(results, work, keys):
    print("| peer | " + " | ".join(keys) + " |\n" + "|---" * (len(keys) + 1) + "|")
    for peer in results.peers(work):
        cells = []
        for key in keys:
            values = list(results.of(work, peer, key).values())
            if values:
                spread = f" ({min(values):.4g}–{max(values):.4g})" if len(set(values)) > 1 else ""
                cells.append(f"{median(values):.4g}{spread}")
            else:
                texts = [str(row[key]) for row in results.rows if (row["work"], row["peer"]) == (work, peer) and row.get(key)]
                cells.append(texts[0] if texts else "–")
        print(f"| {peer} | " + " | ".join(cells) + " |")


def compared(results, work, peer, other, keys):
    """Differences inside a repetition, for values that are mostly the same waiting."""
    print()
    for key in keys:
        mine, others = results.of(work, peer, key), results.of(work, other, key)
        differences = [mine[rep] - others[rep] for rep in mine if rep in others]
        if differences:
            spread = f"{show(min(differences))}–{show(max(differences))}"
            print(f"{key}: {peer} {show(median(differences))} ({spread}) against {other}, paired.")


# What the project aims at: name, how it is read off, at least, aim; `<` where less is better.
FIGURES = [
    ("bulk1 ÷ haproxy", lambda r, p: r.ratio("bulk1", p, "haproxy", "gib_s"), 1.8, 4.0, ">"),
    ("bulk1 CPU", lambda r, p: r.ratio("bulk1", p, "haproxy", "cpu_each"), 0.35, 0.2, "<"),
    ("bulk32 ÷ haproxy", lambda r, p: r.ratio("bulk32", p, "haproxy", "gib_s"), 1.8, 2.5, ">"),
    ("bulk32 CPU", lambda r, p: r.ratio("bulk32", p, "haproxy", "cpu_each"), 0.35, 0.2, "<"),
    ("up1 ÷ haproxy", lambda r, p: r.ratio("up1", p, "haproxy", "gib_s"), 1.4, 4.0, ">"),
    ("connections/s ÷ haproxy", lambda r, p: r.ratio("cps", p, "haproxy", "per_s"), 1.05, 1.15, ">"),
    ("connections/s CPU", lambda r, p: r.ratio("cps", p, "haproxy", "cpu_each"), 0.9, 0.8, "<"),
    ("256 echoes ÷ haproxy", lambda r, p: r.ratio("rr256", p, "haproxy", "per_s"), 1.03, 1.1, ">"),
    ("256 echoes CPU", lambda r, p: r.ratio("rr256", p, "haproxy", "cpu_each"), 0.95, 0.86, "<"),
    ("one echo p50 ÷ haproxy", lambda r, p: r.ratio("rr1", p, "haproxy", "p50_us"), 1.0, 0.4, "<"),
    ("echo p99 beside bulk", lambda r, p: r.ratio("mixed", p, "haproxy", "p99_us"), 0.8, 0.5, "<"),
    ("bulk beside echoes", lambda r, p: r.ratio("mixed", p, "haproxy", "gib_s"), 1.3, 1.5, ">"),
    ("far bulk ÷ haproxy", lambda r, p: r.ratio("far", p, "haproxy", "gib_s"), 0.95, 1.0, ">"),
    ("UDP 64 B, 1 flow ÷ nginx", lambda r, p: r.ratio("udp64x1", p, "nginx", "per_s"), 1.1, 1.2, ">"),
    ("UDP 64 B, 1 flow CPU", lambda r, p: r.ratio("udp64x1", p, "nginx", "cpu_each"), None, 0.7, "<"),
    ("UDP 64 B, 1000 flows ÷ nginx", lambda r, p: r.ratio("udp64x1000", p, "nginx", "per_s"), 1.0, 1.2, ">"),
    ("UDP 64 B, 1000 flows CPU", lambda r, p: r.ratio("udp64x1000", p, "nginx", "cpu_each"), None, 0.8, "<"),
    ("idle connection, KiB", lambda r, p: median(list(r.of("idle", p, "rss_kib_each").values())), 1.0, 0.4, "<"),
    ("idle connection, descriptors", lambda r, p: median(list(r.of("idle", p, "descriptors_each").values())), 2, 2, "<"),
    ("1000 ports until listening, ms", lambda r, p: median(list(r.of("range", p, "start_ms").values())), 50, 25, "<"),
    ("1000 ports, PSS MiB", lambda r, p: (lambda v: v and v / 1024)(median(list(r.of("range", p, "pss_kib").values()))), 8, 8, "<"),
    ("200 bulk, nobody ÷ root", lambda r, p: r.ratio("unprivileged", p + " as nobody", p, "gib_s"), 0.95, 1.0, ">"),
    ("64 stalled readers, KiB each", lambda r, p: median(list(r.of("stall", p, "rss_kib_each").values())), 8, 8, "<"),
]


def figures(results, peer):
    rows = [(name, read(results, peer), least, aim, sense) for name, read, least, aim, sense in FIGURES]
    rows = [row for row in rows if row[1] is not None]
    if not rows:
        return
    print(f"\n### {peer} and what it aims at\n\n| figure | measured | at least | aim | |\n|---|---|---|---|---|")
    for name, value, least, aim, sense in rows:
        meets = lambda bound: bound is not None and (value >= bound if sense == ">" else value <= bound)  # noqa: E731
        word = "aim" if meets(aim) else "met" if least is None or meets(least) else "**missed**"
        print(f"| {name} | {show(value)} | {show(least)} | {show(aim)} | {word} |")
