//! Control groups, in which the kernel ends a process that takes too much memory; of the second version or the first.

use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where the first version has its groups for memory.
const FIRST: &str = "/sys/fs/cgroup/memory";

/// A group with a group for each process; both are gone with it, once the processes are.
pub(super) struct Group {
    path: PathBuf,
    bytes: u64,
    /// The file that takes the limit.
    limit: &'static str,
}

impl Group {
    /// `None` where this user or kernel cannot arrange it.
    pub(super) fn new(bytes: u64) -> Option<Self> {
        let controllers = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).unwrap_or_default();
        let is_second = controllers.split_whitespace().any(|one| one == "memory");
        let (parent, limit) = if is_second {
            (CGROUPS, "memory.max")
        } else if Path::new(FIRST).join("memory.limit_in_bytes").exists() {
            (FIRST, "memory.limit_in_bytes")
        } else {
            return None;
        };
        let path = Path::new(parent).join(format!("portunus-attack-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self { path, bytes, limit };
        if is_second {
            fs::write(group.path.join("cgroup.subtree_control"), "+memory").ok()?;
        }
        Some(group)
    }

    /// A shell that enters a group of its own and becomes the process.
    pub(super) fn wrapper(&self) -> Vec<&'static str> {
        let Self { path, bytes, limit } = self;
        let path = path.display();
        // Swapping would hide what a process takes; not every kernel has a limit for it.
        let swap = "if [ -e $g/memory.swap.max ]; then echo 0 >$g/memory.swap.max; fi";
        let entering = format!(
            "g={path}/$$ && mkdir $g && echo {bytes} >$g/{limit} && {swap} && echo $$ >$g/cgroup.procs && exec \"$@\""
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
