//! Debian's chromium without a window, steered as a person would: pages, clicks, keys.
//!
//! Speaks the WebDriver protocol itself, a handful of documents: the library for it brings an addition of its own to
//! `String`, after which `String + &String` is ambiguous everywhere in these tests.
//!
//! Keeps: one browser at a time, with a profile of its own that goes with it; its driver is ended by its id, with all that
//! it started; nothing that it does leaves the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::Process;
use crate::support::{LONG, World, ports, skip, wait_for};

/// One browser at a time: each takes more than a server and its edges.
static ONE: Mutex<()> = Mutex::new(());

/// The key of an element's name in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The keys that have no letter.
pub(super) const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";

/// What a browser does of itself, and does not here.
const QUIET: [&str; 12] = [
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];

/// A browser with a blank page.
pub(super) struct Browser {
    process: Process,
    profile: TempDir,
    /// Where its driver listens, and the path of its session there.
    driver: (u16, String),
    server: String,
    _turn: MutexGuard<'static, ()>,
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let files = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    files.into_iter().find(|file| file.is_file())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn capabilities(chromium: &Path, profile: &Path) -> Value {
    let mut arguments: Vec<String> = QUIET.iter().map(|&argument| argument.to_owned()).collect();
    arguments.push(format!("--user-data-dir={}", profile.join("profile").display()));
    if is_root() {
        arguments.push("--no-sandbox".to_owned());
    }
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": {
            "binary": chromium,
            "args": arguments,
        },
        "goog:loggingPrefs": { "browser": "ALL" },
    } } })
}

/// One request to the driver, which keeps a connection open whatever it is asked.
fn exchange(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LONG))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while answer.read_line(&mut line)? > 2 {
        let header = line.to_ascii_lowercase();
        length = header.strip_prefix("content-length:").and_then(|count| count.trim().parse().ok()).unwrap_or(length);
        line.clear();
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}

/// The value of an answer of the driver, or its error in words.
fn ask(port: u16, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let text = if method == "POST" { body.to_string() } else { String::new() };
    let answer = exchange(port, method, path, &text).map_err(|error| error.to_string())?;
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    match &value["error"] {
        Value::String(error) => Err(format!("{error}: {}", value["message"])),
        _ => Ok(value),
    }
}

impl Browser {
    /// A browser for the page of that world; `None`, with the reason printed, where there is none.
    pub(super) fn start(world: &World) -> Option<Self> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let (Some(chromium), Some(driver)) = (chromium, program(&["chromedriver"])) else {
            skip("there is no chromium with its chromedriver here");
            return None;
        };
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::Builder::new().prefix("portunus-browser-").tempdir().unwrap();
        let port = ports(1);
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).env("HOME", profile.path()).process_group(0);
        let process = Process::start("chromedriver", command, &profile.path().join("driver.log"));
        wait_for("chromedriver", || ask(port, "GET", "/status", &Value::Null).map_err(|error| error + &process.log()));
        let wanted = capabilities(&chromium, profile.path());
        let session =
            ask(port, "POST", "/session", &wanted).unwrap_or_else(|error| panic!("{error}: {}", process.log()));
        let session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        let server = format!("http://127.0.0.1:{}", world.operator);
        let browser = Self { process, profile, driver: (port, session), server, _turn: turn };
        browser.is_as_wide_as(1280);
        let downloads = json!({ "behavior": "allow", "downloadPath": browser.downloads() });
        browser.tell("Browser.setDownloadBehavior", &downloads);
        Some(browser)
    }

    /// Where its downloads come to lie.
    pub(super) fn downloads(&self) -> PathBuf {
        self.profile.path().to_owned()
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        ask(self.driver.0, method, &format!("{}{path}", self.driver.1), body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| self.fails(&format!("{path} {body}: {error}")))
    }

    #[track_caller]
    fn fails(&self, why: &str) -> ! {
        panic!("{why}\non {}:\n{}", self.place(), self.body());
    }

    /// The path of the first such element.
    fn element(&self, using: &str, value: &str) -> Result<String, String> {
        let found = self.try_ask("POST", "/element", &json!({ "using": using, "value": value }))?;
        found[ELEMENT].as_str().map(|id| format!("/element/{id}")).ok_or_else(|| found.to_string())
    }

    #[track_caller]
    fn found(&self, using: &str, value: &str) -> String {
        self.element(using, value).unwrap_or_else(|error| self.fails(&error))
    }

    /// Opens a page of the server.
    #[track_caller]
    pub(super) fn open(&self, path: &str) {
        self.ask("POST", "/url", &json!({ "url": format!("{}{path}", self.server) }));
    }

    /// Shows an empty page that is of no server.
    #[track_caller]
    pub(super) fn open_empty(&self) {
        self.ask("POST", "/url", &json!({ "url": "data:text/html,<!doctype html><meta charset=utf-8><pre></pre>" }));
    }

    pub(super) fn reload(&self) {
        self.ask("POST", "/refresh", &json!({}));
    }

    /// Path and query of the page that is shown.
    pub(super) fn place(&self) -> String {
        let url = self.try_ask("GET", "/url", &Value::Null).unwrap_or_default();
        let url = url.as_str().unwrap_or_default();
        url.strip_prefix(&self.server).unwrap_or(url).to_owned()
    }

    /// What a person reads on the page.
    pub(super) fn body(&self) -> String {
        self.try_text("body").unwrap_or_else(|error| error)
    }

    fn try_text(&self, css: &str) -> Result<String, String> {
        let element = self.element("css selector", css)?;
        let text = self.try_ask("GET", &format!("{element}/text"), &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The text of the first such element.
    #[track_caller]
    pub(super) fn text(&self, css: &str) -> String {
        self.try_text(css).unwrap_or_else(|error| self.fails(&error))
    }

    /// Waits until the first such element reads so.
    #[track_caller]
    pub(super) fn reads(&self, css: &str, text: &str) {
        wait_for(&format!("`{text}` in {css}"), || match self.try_text(css) {
            Ok(found) if found.contains(text) => Ok(()),
            other => Err(format!("{other:?} on {}:\n{}", self.place(), self.body())),
        });
    }

    /// Waits until the browser is led there.
    #[track_caller]
    pub(super) fn arrives_at(&self, path: &str) {
        wait_for(&format!("the page {path}"), || match self.place() {
            place if place.starts_with(path) => Ok(()),
            place => Err(format!("{place}: {}", self.body())),
        });
    }

    #[track_caller]
    pub(super) fn count(&self, css: &str) -> usize {
        let found = self.ask("POST", "/elements", &json!({ "using": "css selector", "value": css }));
        found.as_array().map_or(0, Vec::len)
    }

    #[track_caller]
    pub(super) fn click(&self, css: &str) {
        let element = self.found("css selector", css);
        self.ask("POST", &format!("{element}/click"), &json!({}));
    }

    /// Clicks the link, the button or the summary that reads so and can be seen.
    #[track_caller]
    pub(super) fn press(&self, text: &str) {
        let kinds = "(self::a or self::button or self::summary)";
        let path = format!(
            "//*[{kinds} and normalize-space(.) = '{text}' and not(ancestor::details[not(@open)] and not(self::summary))]"
        );
        let element = self.found("xpath", &path);
        self.ask("POST", &format!("{element}/click"), &json!({}));
    }

    #[track_caller]
    pub(super) fn type_in(&self, css: &str, text: &str) {
        let element = self.found("css selector", css);
        self.ask("POST", &format!("{element}/clear"), &json!({}));
        self.ask("POST", &format!("{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys, for whatever has the focus.
    #[track_caller]
    pub(super) fn keys(&self, keys: &str) {
        let each = |key: char| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }));
        let strokes: Vec<Value> = keys.chars().flat_map(each).collect();
        self.ask("POST", "/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }));
    }

    /// The value of a script that returns one.
    #[track_caller]
    pub(super) fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    #[track_caller]
    fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    pub(super) fn is_as_wide_as(&self, width: u32) {
        let is_mobile = width < 600;
        let height = if is_mobile { 740 } else { 900 };
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile });
        self.tell("Emulation.setDeviceMetricsOverride", &screen);
    }

    pub(super) fn is_dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.tell("Emulation.setEmulatedMedia", &features);
    }

    /// From the next page on, no script of a page runs.
    pub(super) fn has_no_scripts(&self) {
        self.tell("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// A picture of the page from its top, as high as it is, or as that.
    #[track_caller]
    pub(super) fn picture(&self, most: u32) -> Vec<u8> {
        let size = self.run(
            "const body = document.body;\nreturn [document.documentElement.clientWidth, Math.ceil(body.offsetHeight)];",
        );
        let height = size[1].as_u64().unwrap().min(most.into());
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.tell("Page.captureScreenshot", &parameters);
        data_encoding::BASE64.decode(answer["data"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// What the console has that should not be there, since the last look: errors, warnings, violations of the policy.
    /// That a page came with a status such as 404 is meant.
    #[track_caller]
    pub(super) fn complaints(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let bad = |entry: &&Value| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
        let messages = entries.as_array().into_iter().flatten().filter(bad).map(|entry| entry["message"].to_string());
        messages.filter(|message| !message.contains("the server responded with a status of 4")).collect()
    }

    /// Signs in with that token.
    #[track_caller]
    pub(super) fn sign_in(&self, token: &str) {
        self.open("/ui/sign-in");
        self.type_in("#token", token);
        self.press("Sign in");
        self.reads("h1", "Fleet");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.try_ask("DELETE", "", &Value::Null).ok();
        // The group is its own, and its first process is not yet reaped: nobody else has its number.
        Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status().ok();
    }
}
