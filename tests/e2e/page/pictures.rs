//! The pictures of the README, of a small fleet that is made for them. `docs/pictures/make` keeps them.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::peers::{Client, echo, serve};
use crate::support::{World, let_pass, wait_until};

use super::browser::Browser;

/// A page of a README that is quick to load.
const MOST_BYTES: usize = 120 * 1024;

const EDGES: &str = "[[edge]]\nname = \"ams-1\"\nlabels = { region = \"ams\", stage = \"canary\" }\n\n[[edge]]\nname = \
    \"fra-1\"\nlabels = { region = \"fra\" }\n\n[[edge]]\nname = \"fra-2\"\nlabels = { region = \"fra\" }\n";
const RAILS: &str = "[rollout]\nwaves = [\n  { edge_labels = { stage = \"canary\" } },\n  { edge_labels = {} },\n]\n";
const CHECK: &str = "[rule.health]\nkind = \"tcp\"\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";

/// Where pictures are kept; `None` where they are made to see that they can be.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("PORTUNUS_PICTURES")?);
    fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

/// Each edge has an address of its own on this host, and so has each target.
fn rule(edge: (&str, u8), name: &str, port: u16, targets: &[u8], more: &str) -> String {
    let targets = targets.iter().map(|host| format!("  {{ host = \"127.0.62.{host}\", port = {port} }},\n"));
    format!(
        "[[rule]]\nname = \"{name}\"\nedges = [\"{}\"]\nlisten_address = \"127.0.61.{}\"\nlisten_port = {port}\ntargets = \
         [\n{}]\n{more}\n",
        edge.0,
        edge.1,
        targets.collect::<String>()
    )
}

fn web(targets: &[u8], more: &str) -> String {
    let shop = format!("owner = \"team-web\"\ndescription = \"The shop, HTTPS passed on as it is\"\n{more}{CHECK}");
    let edges = [("ams-1", 1), ("fra-1", 2), ("fra-2", 3)];
    edges.map(|edge| rule(edge, "shop", 8443, targets, &shop)).concat()
}

fn mail() -> String {
    let quota = format!("owner = \"team-mail\"\nquota = {{ bytes = 50_000_000, period = \"day\" }}\n{CHECK}");
    let game = "owner = \"team-games\"\ndescription = \"The lobby\"\n";
    rule(("fra-1", 2), "smtp", 2525, &[4], &quota) + &rule(("fra-2", 3), "lobby", 7777, &[5], game)
}

/// A fleet with a little history, some traffic, and one target that is down.
struct Demo {
    world: World,
    _clients: Vec<Client>,
}

impl Demo {
    fn new() -> Self {
        for address in ["127.0.62.1:8443", "127.0.62.2:8443", "127.0.62.4:2525", "127.0.62.5:7777"] {
            serve(TcpListener::bind(address).unwrap(), |stream| echo(stream, 1));
        }
        let world = World::new();
        world.write("fleet/portunus.toml", RAILS);
        world.write("fleet/edges.toml", EDGES);
        world.write("fleet/mail.toml", mail());
        world.write("fleet/web.toml", web(&[1, 2], ""));
        Self::commit(&world, "fleet: three edges, shop and mail");
        world.serve(&["--mode", "apply", "--rules", &world.arg("rules/fleet")]);
        for edge in ["ams-1", "fra-1", "fra-2"] {
            world.edge(edge);
        }
        Self::is_in_force(&world);
        world.write("fleet/web.toml", web(&[1, 2, 3], ""));
        Self::commit(&world, "shop: a third target for the weekend");
        Self::is_in_force(&world);
        world.wait_status("the target that is down", |status| status["targets"]["down"] == 3);
        let mut clients = Vec::new();
        for (address, count) in
            [("127.0.61.1:8443", 3), ("127.0.61.2:8443", 6), ("127.0.61.2:2525", 2), ("127.0.61.3:7777", 4)]
        {
            for number in 1..=count {
                let mut client = Client::connect(address).unwrap();
                client.ping(1, 0, 60_000 * number).unwrap();
                clients.push(client);
            }
        }
        Self { world, _clients: clients }
    }

    fn commit(world: &World, subject: &str) {
        world.git(&["add", "-A"]);
        world.git(&["-c", "user.name=Ada Lovelace", "commit", "-q", "-m", subject]);
    }

    fn is_in_force(world: &World) {
        let commit = world.git(&["rev-parse", "HEAD"]);
        world.wait_status("the commit to be in force", |status| {
            status["revision"]["commit"] == commit.as_str() && status["revision"]["verdict"]["outcome"] == "applied"
        });
    }
}

fn keep(name: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 4096, "{name} is a picture");
    assert!(picture.len() < MOST_BYTES, "{name} has {} bytes", picture.len());
    if let Some(folder) = folder() {
        fs::write(folder.join(name).with_extension("png"), picture).unwrap();
    }
}

/// Some traffic of a client, until nobody wants it any more.
fn talk(mut client: Client, is_over: &Arc<AtomicBool>) {
    let is_over = Arc::clone(is_over);
    thread::spawn(move || {
        let mut sent = 0;
        for round in 0_u64.. {
            let length = 4_000 + (round * 7_919) % 60_000;
            if is_over.load(Ordering::Relaxed) || client.ping(1, sent, length as usize).is_err() {
                return;
            }
            sent += length;
            let_pass(Duration::from_millis(150));
        }
    });
}

#[test]
fn the_pictures_of_the_readme_can_be_made() {
    let demo = Demo::new();
    let Some(browser) = Browser::start(&demo.world) else { return };
    let is_over = Arc::new(AtomicBool::new(false));
    talk(Client::connect("127.0.61.2:8443").unwrap(), &is_over);
    browser.is_as_wide_as(1120);
    browser.sign_in(&demo.world.token());
    browser.open("/ui/rules/fra-1/shop");
    // The line gets longer with every event.
    let stops: &[u64] = if folder().is_some() { &[6, 12] } else { &[2] };
    for points in stops {
        wait_until("the line of the last minutes", || {
            let drawn =
                browser.run("return document.querySelector('.spark-in').getAttribute('points').split(' ').length;");
            drawn.as_u64() >= Some(*points)
        });
    }
    keep("rule", &browser.picture(840));
    browser.open("/ui/");
    keep("fleet", &browser.picture(700));
    // What the next commit would do, before anybody made it.
    browser.open("/ui/rules/fra-2/lobby/add-target");
    browser.type_in("#host", "127.0.62.6");
    browser.type_in("#ports", "7777");
    browser.press("Preview the change");
    browser.reads("pre.plan-text", "lobby");
    keep("proposal", &browser.picture(840));
    // A terminal of 100 columns, drawn by the same browser.
    let size = [("COLUMNS", "100"), ("LINES", "22")];
    let frame = demo.world.cli_with(&["top", "--once", "--color", "always"], &size).exits(0).out;
    assert!(frame.contains("fra-1/shop"), "{frame}");
    browser.open_empty();
    browser.run(&format!("const frame = {};\n{}", Value::from(frame), include_str!("terminal.js")));
    keep("top", &browser.picture(840));
    is_over.store(true, Ordering::Relaxed);
}
