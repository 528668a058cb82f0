//! Where state is kept when nobody says otherwise: one answer for the server that writes the token and for the
//! command that reads it. I/O: reads the environment.

use std::env;
use std::path::PathBuf;

use schema::name::EdgeName;

/// The user's folder for state, if the user has one.
fn home() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // As the base directory specification has it: a relative path is to be ignored.
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

/// The state directory of the server.
pub(crate) fn of_server() -> Option<PathBuf> {
    Some(home()?.join("portunus"))
}

/// The directory of the state directories of edges.
pub(crate) fn of_edges() -> Option<PathBuf> {
    Some(home()?.join("portunus-edge"))
}

/// The state directory of an edge: one for each name, for several may run on one host.
pub(crate) fn of_edge(name: &EdgeName) -> Option<PathBuf> {
    Some(of_edges()?.join(name.as_str()))
}

/// Where commands look for the token: the directory that is named, else the user's own.
pub(crate) fn for_token() -> Option<PathBuf> {
    env::var_os("PORTUNUS_STATE_DIR").map(PathBuf::from).or_else(of_server)
}
