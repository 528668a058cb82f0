//! Control groups of the second version, in which the kernel ends a process that takes too much memory.

use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// A group with a group for each process; both are gone with it, once the processes are.
pub(super) struct Group {
    path: PathBuf,
    bytes: u64,
}

impl Group {
    /// `None` where this user or kernel cannot arrange it.
    pub(super) fn new(bytes: u64) -> Option<Self> {
        let controllers = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).ok()?;
        if !controllers.split_whitespace().any(|one| one == "memory") {
            return None;
        }
        let path = Path::new(CGROUPS).join(format!("portunus-attack-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self { path, bytes };
        fs::write(group.path.join("cgroup.subtree_control"), "+memory").ok()?;
        Some(group)
    }

    /// A shell that enters a group of its own and becomes the process.
    pub(super) fn wrapper(&self) -> Vec<&'static str> {
        let (path, bytes) = (self.path.display(), self.bytes);
        let entering = format!(
            "g={path}/$$ && mkdir $g && echo {bytes} >$g/memory.max && echo 0 >$g/memory.swap.max && \
             echo $$ >$g/cgroup.procs && exec \"$@\""
        );
        // Once per attack, which is once per test binary.
        vec!["sh", "-c", entering.leak(), "portunus"]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for of_process in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            fs::remove_dir(of_process.path()).ok();
        }
        fs::remove_dir(&self.path).ok();
    }
}
