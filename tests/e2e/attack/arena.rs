//! What is attacked: a server that follows a directory, one that follows a repository and takes webhooks, and an edge with
//! metrics of its own; each within 512 MiB where this machine can arrange that.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::lies::LIAR;
use super::memory::Group;
use crate::git_source::{Scene, secret};
use crate::peers::{Echo, answers};
use crate::support::{Handle, World, ports, rule, skip, wait_until};

/// Where attackers reach it. It does not change over restarts.
pub(super) struct Place {
    /// Control, operator and metrics port of the server, and the metrics port of the edge.
    pub(super) control: u16,
    pub(super) operator: u16,
    pub(super) metrics: u16,
    pub(super) edge_metrics: u16,
    /// The operator port of the server that takes webhooks.
    pub(super) webhook: u16,
    /// Where the rule of the real edge listens.
    pub(super) rule: u16,
    pub(super) token: String,
    pub(super) tree: PathBuf,
    /// The state directory of an edge that has joined, and lies.
    pub(super) liar: PathBuf,
}

impl Place {
    /// All ports that speak HTTP.
    pub(super) fn http_ports(&self) -> [u16; 4] {
        [self.operator, self.metrics, self.edge_metrics, self.webhook]
    }

    pub(super) fn all_ports(&self) -> [u16; 5] {
        [self.control, self.operator, self.metrics, self.edge_metrics, self.webhook]
    }
}

pub(super) struct Arena {
    pub(super) world: World,
    /// Keeps the second server and its repository.
    scene: Scene,
    place: Arc<Place>,
    pub(super) echo: Echo,
    server: Mutex<Handle>,
    edge: Mutex<Handle>,
    hosted: Handle,
    /// Dropped after the worlds.
    group: Option<Group>,
}

/// What one of the processes is called in the report.
pub(super) const NAMES: [&str; 3] = ["server", "edge", "server with a webhook"];
const REAL: &str = "real";

impl Arena {
    pub(super) fn start() -> Self {
        let group = Group::new(super::report::MEMORY);
        let world = if let Some(group) = &group {
            World::new().behind(group.wrapper())
        } else {
            skip("no limit of memory can be set here (cgroups for memory, root): VmHWM is looked at instead");
            World::new()
        };
        let (echo, listen, edge_metrics) = (Echo::start(), ports(1), ports(1));
        world.write("a.toml", rule(REAL, "web", listen, echo.port, ""));
        let server = world.follow_uncommitted();
        let edge = world.edge_with(REAL, &["--metrics-listen", &format!("127.0.0.1:{edge_metrics}")]);
        wait_until("the port", || answers(listen) == Some(echo.port));
        let scene = Scene::new();
        let file = secret(&scene.world, "webhook.secret", "between-us\n");
        let hosted = scene.follow(&["--webhook-secret-file", &file]);
        let liar = world.edge(LIAR);
        liar.stop();
        let place = Place {
            control: world.control,
            operator: world.operator,
            metrics: world.metrics,
            edge_metrics,
            webhook: scene.world.operator,
            rule: listen,
            token: world.token(),
            tree: world.tree(),
            liar: world.path("liar-state"),
        };
        let (place, server, edge) = (Arc::new(place), Mutex::new(server), Mutex::new(edge));
        Self { world, scene, place, echo, server, edge, hosted, group }
    }

    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }

    /// True if the kernel holds the processes to the limit.
    pub(super) fn is_bounded(&self) -> bool {
        self.group.is_some()
    }

    /// In the order of [`NAMES`].
    pub(super) fn processes(&self) -> [Handle; 3] {
        [self.server(), self.edge.lock().unwrap().clone(), self.hosted.clone()]
    }

    pub(super) fn server(&self) -> Handle {
        self.server.lock().unwrap().clone()
    }

    #[track_caller]
    pub(super) fn assert_alive(&self, after: &str) {
        for (name, process) in NAMES.iter().zip(self.processes()) {
            let ended = process.has_ended();
            assert!(ended.is_none(), "{name} ended with {ended:?} after {after}:\n{}", process.log());
        }
    }

    /// A power cut of the server, and its restart; what happens in between is up to the caller.
    pub(super) fn restart_server(&self, between: impl FnOnce(&Self)) {
        self.server().kill();
        between(self);
        *self.server.lock().unwrap() = self.world.follow_uncommitted();
        self.world.wait_connected(REAL, true);
    }

    /// A power cut of the edge, which serves its last good state again.
    pub(super) fn restart_edge(&self) {
        let old = self.edge.lock().unwrap().clone();
        old.kill();
        let metrics = format!("127.0.0.1:{}", self.place.edge_metrics);
        let new = self.world.start_edge(REAL, &["--metrics-listen", &metrics]);
        wait_until("the last good state", || answers(self.place.rule) == Some(self.echo.port));
        *self.edge.lock().unwrap() = new;
    }

    /// Takes out of the tree what attackers left there, and waits until that is noticed.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(self.world.tree()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("junk") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        self.world.wait_status("the tree to be valid", |status| {
            status["revision"]["errors"].as_array().is_none_or(Vec::is_empty)
        });
        self.world.wait_connected(REAL, true);
    }

    /// Everything ends as it should.
    pub(super) fn end(&self) {
        let (one, two) = (Echo::start(), &self.scene);
        self.world.write("a.toml", rule(REAL, "web", self.place.rule, one.port, ""));
        wait_until("a last change", || answers(self.place.rule) == Some(one.port));
        let commit = two.push(&two.two);
        two.serves(&two.two, &commit);
        for process in self.processes() {
            process.stop();
        }
    }
}
