//! How the edges of a world join its server, so that tests of other things need not say it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reconciler::act::store::{Batch, Store};
use serde_json::Value;

use crate::support::World;

impl World {
    /// The arguments of an edge with what it needs to join, where it has not. One of a name that has joined from
    /// another directory has the same certificate; where no server answers, there is one to wait for.
    pub(crate) fn joining(&self, args: &[&str]) -> Vec<String> {
        let all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let value = |flag: &str| args.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
        let (Some(&"edge"), Some(name), Some(state)) = (args.first(), value("--name"), value("--state-dir")) else {
            return all;
        };
        let file = |state: &Path| state.join("membership");
        if file(Path::new(state)).exists() || value("--join").is_some() {
            return all;
        }
        let mut members = self.members.lock().unwrap();
        if let Some(first) = members.get(name).filter(|first| file(first).exists()) {
            fs::create_dir_all(state).unwrap();
            fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
            fs::copy(file(first), file(Path::new(state))).unwrap();
            return all;
        }
        members.insert(name.to_owned(), state.into());
        let request = format!("{{\"name\":\"{name}\",\"ttl_secs\":600}}");
        let uri = match self.api("POST", "/v1/edge-tokens", &request) {
            Ok((200, body)) => serde_json::from_str::<Value>(&body).unwrap()["uri"].as_str().unwrap().to_owned(),
            _ => format!("portunus://127.0.0.1:1/?name={name}&pin=sha256:{}&code={}", "0".repeat(64), "0".repeat(32)),
        };
        all.into_iter().chain(["--join".to_owned(), uri]).collect()
    }

    /// Takes everything from a server that does not run, except who may take part.
    pub(crate) fn lose_records(&self) {
        let store = Store::open(&self.path("server-state")).unwrap();
        let keys = store.keys("").unwrap().into_iter().filter(|key| !key.starts_with("trust/"));
        store.commit(&keys.fold(Batch::new(), Batch::delete)).unwrap();
    }
}
