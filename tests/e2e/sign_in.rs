//! The link that `up` prints, and the name of a reverse proxy: by the real program.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{World, ports, wait_for};

/// Status, head and body of an answer.
fn get(port: u16, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_link_of_up_signs_in_once_by_every_name_that_was_given() {
    let world = World::new();
    world.write("portunus.toml", "");
    world.edit("a.toml", format!("[[rule]]\nname = \"a\"\nlisten_port = {}\ntarget = \"127.0.0.1:1\"\n", ports(1)));
    let up = world.up(&[&world.tree_arg(), "--operator-host", "portunus.example.org"]);
    let link = wait_for("the banner", || {
        let log = up.log();
        let line = log.lines().find_map(|line| line.trim().strip_prefix("page "));
        let link = line.and_then(|line| line.split_whitespace().next()).map(str::to_owned);
        link.ok_or(log)
    });
    let path = link.strip_prefix(&format!("http://127.0.0.1:{}", world.operator)).expect("the operator port");
    assert!(path.starts_with("/ui/sign-in?once="), "{link}");
    let proxied = "Host: portunus.example.org\r\n";
    let answer = get(world.operator, path, proxied);
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let cookie = cookie.split(';').next().unwrap();
    assert!(answer.contains("\r\nlocation: /ui/\r\n"), "the code is gone from the address: {answer}");
    let page = get(world.operator, "/ui/", &format!("{proxied}Cookie: {cookie}\r\n"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("operator <span"), "{page}");
    assert!(get(world.operator, path, proxied).starts_with("HTTP/1.1 401"), "it works once");
    assert!(get(world.operator, "/ui/", "Host: example.org\r\n").starts_with("HTTP/1.1 403"));
}
