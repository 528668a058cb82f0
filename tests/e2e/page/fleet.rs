//! A small fleet with something of everything to look at, followed from git.

use std::net::TcpListener;

use serde_json::json;

use crate::peers::{Client, Echo};
use crate::support::{Handle, World, ports, rule, rule_of};

/// What a name would do in a page that did not escape it.
pub(super) const NASTY: &str = "<script>alert(1)</script> & \\\"x\\\"";

const HEAD: &str = "[[edge]]\nname = \"edge-01\"\nlabels = { stage = \"canary\" }\n\n[[edge]]\nname = \"edge-02\"\n\
    labels = { stage = \"stable\" }\n\n";
const WAVES: &str = "[rollout]\nwaves = [\n  { edge_labels = { stage = \"canary\" } },\n  { edge_labels = {} },\n]\n";
const CHECK: &str = "[rule.health]\nkind = \"tcp\"\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";

/// Two edges: `edge-01` has `web`, of whose two targets one is down; `edge-02` has `api`, whose only target is down, and
/// `dns`, which has a quota. The tree is the folder `fleet` of its repository.
pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) echo: Echo,
    /// A port of the host that nobody listens on, until somebody does.
    pub(super) dead: u16,
    pub(super) server: Handle,
    /// `web` listens here, `api` on the next, `dns` on the one after.
    pub(super) port: u16,
}

fn rules(port: u16, echo: u16, dead: u16) -> String {
    let (api, dns) = (port + 1, port + 2);
    format!(
        "[[rule]]\nname = \"web\" # the shop\ndescription = \"{NASTY}\"\nowner = \"team-web\"\nedges = [\"edge-01\"]\n\
         listen_port = {port}\ntargets = [\n  {{ host = \"127.0.0.1\", port = {echo} }},\n  {{ host = \"127.0.0.1\", \
         port = {dead} }},\n]\n{CHECK}\n[[rule]]\nname = \"api\"\nowner = \"team-api\"\nedges = [\"edge-02\"]\n\
         listen_port = {api}\ntargets = [\n  {{ host = \"127.0.0.1\", port = {dead} }},\n]\n{CHECK}\n[[rule]]\nname = \
         \"dns\"\nedges = [\"edge-02\"]\nlisten_port = {dns}\ntarget = \"127.0.0.1:{echo}\"\nquota = {{ bytes = \
         1000000, period = \"day\" }}\n"
    )
}

impl Fleet {
    pub(super) fn new() -> Self {
        let (world, echo, dead, port) = (World::new(), Echo::start(), ports(1), ports(6));
        world.write("fleet/portunus.toml", WAVES);
        world.write("fleet/edges.toml", HEAD);
        world.edit("fleet/web.toml", rules(port, echo.port, dead));
        let server = world.serve(&["--mode", "apply", "--rules", &world.arg("rules/fleet")]);
        let fleet = Self { world, echo, dead, server, port };
        let world = &fleet.world;
        for edge in ["edge-01", "edge-02"] {
            world.edge(edge);
        }
        fleet.is_in_force();
        world.wait_status("the verdicts", |status| {
            let of_api = rule_of(status, "edge-02", "api").map(|rule| &rule["health"]);
            status["targets"]["down"] == 2 && of_api == Some(&json!("down"))
        });
        fleet
    }

    /// Commits one more rule for each edge, on the third and the fourth port after the first.
    pub(super) fn lists_more(&self) {
        let (port, echo) = (self.port, self.echo.port);
        self.world.edit(
            "fleet/more.toml",
            rule("edge-01", "more", port + 3, echo, "") + &rule("edge-02", "more", port + 4, echo, ""),
        );
    }

    /// Waits until the last commit is in force.
    pub(super) fn is_in_force(&self) {
        let commit = self.world.git(&["rev-parse", "HEAD"]);
        self.world.wait_status("the commit to be in force", |status| {
            status["revision"]["commit"] == commit.as_str() && status["revision"]["verdict"]["outcome"] == "applied"
        });
    }

    /// The token of a new operator.
    pub(super) fn operator(&self, name: &str, role: &str) -> String {
        let created = self.world.cli(&["operator", "create", name, "--role", role, "-o", "json"]).exits(0).json();
        created["token"].as_str().unwrap().to_owned()
    }

    /// A client of `web`, with some traffic.
    pub(super) fn client(&self) -> Client {
        let mut client = Client::to(self.port);
        client.ping(1, 0, 100_000).unwrap();
        client
    }

    /// From now on somebody listens where nobody did.
    pub(super) fn comes_back(&self) -> TcpListener {
        TcpListener::bind(("127.0.0.1", self.dead)).unwrap()
    }
}
