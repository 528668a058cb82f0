//! HAProxy and nginx, where they are installed: as targets, and as forwarders beside the edge.

use std::process::{Child, Command, Stdio};

use tokio::time::timeout;

use crate::support::{LONG, skipped};

/// A daemon with a file of its own; both end with the test.
pub(crate) struct Daemon {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Daemon {
    /// Starts a program on a configuration in which `@` stands for its folder. `None` where it is not installed.
    pub(crate) async fn start(program: &str, config: &str, arguments: &[&str], port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_str().unwrap().to_owned();
        std::fs::write(folder.path().join("config"), config.replace('@', &here)).unwrap();
        let process = Command::new(program)
            .args(arguments)
            .arg(folder.path().join("config"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            skipped(&format!("{program} is not installed"));
            return None;
        };
        let mut daemon = Self { process, _folder: folder };
        let listens = async {
            while !listens(port) && daemon.process.try_wait().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, listens).await.expect("the daemon listens");
        if let Some(status) = daemon.process.try_wait().unwrap() {
            skipped(&format!("{program} takes no such configuration ({status})"));
            return None;
        }
        Some(daemon)
    }

    /// HAProxy, forwarding from one port of this host to another one.
    pub(crate) async fn haproxy(port: u16, target: u16, more: &str) -> Option<Self> {
        let config = format!(
            "defaults\n mode tcp\n timeout connect 9s\n timeout client 60s\n timeout server 60s\n{more}\
             listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{target}\n"
        );
        Self::start("haproxy", &config, &["-db", "-f"], port).await
    }

    /// nginx, the same.
    pub(crate) async fn nginx(port: u16, target: u16) -> Option<Self> {
        // Where the module is one of its own, and not built in.
        const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let module =
            if std::path::Path::new(MODULE).exists() { format!("load_module {MODULE};") } else { String::new() };
        let config = format!(
            "{module} daemon off; master_process off; pid @/pid; error_log @/error.log; events {{}}\n\
             stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{target}; proxy_timeout 60s; }} }}\n"
        );
        Self::start("nginx", &config, &["-e", "stderr", "-c"], port).await
    }
}

/// True if somebody listens there, without connecting to it: a forwarder would pass that on.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter_map(|row| Some((row.split_whitespace().nth(1)?, row.split_whitespace().nth(3)?)))
        .any(|(local, state)| state == "0A" && local.ends_with(&format!(":{port:04X}")))
}
