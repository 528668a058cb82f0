//! A list file: one network a line, `#` comments. Pure.
//!
//! Keeps: every line that is wrong is reported at its place; the work and the memory grow with the file and not with
//! what is wrong in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::records::{Records, key_v4};
use super::{NetworkList, host_bits_v4, host_bits_v6};
use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::findings::Findings;
use crate::policy::Network;

/// Largest list file.
pub const MAX_LIST_BYTES: u64 = 32 << 20;
/// Most networks of a list file.
pub const MAX_LISTED: usize = 1_000_000;
/// Characters of a line that a message repeats: the longest network has 43.
const SHOWN: usize = 64;

/// Reads a list file. `None` where it has an error.
pub fn read_list(file: &SourceFile, found: &mut Findings) -> Option<NetworkList> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let (mut start, mut is_valid) = (0, true);
    for line in file.text.split_inclusive('\n') {
        let from = start;
        start += line.len();
        let content = line.split('#').next().unwrap_or_default();
        let text = content.trim();
        if text.is_empty() {
            continue;
        }
        let begin = from + (content.len() - content.trim_start().len());
        let span = Span::new(begin, begin + text.len());
        if v4.len() + v6.len() >= MAX_LISTED {
            let message = format!("the file has more than {MAX_LISTED} networks, of which this is the first too many");
            found.push(
                Diagnostic::error(TreeCode::FileTooLarge, file, span, message)
                    .help("merge networks, or split the list over several rules"),
            );
            return None;
        }
        match parse(text) {
            Some((IpAddr::V4(address), prefix)) => v4.push(key_v4(address.to_bits(), prefix)),
            Some((IpAddr::V6(address), prefix)) => v6.push((address.to_bits(), prefix)),
            None => {
                is_valid = false;
                found.push(fault(file, span, text));
            }
        }
    }
    is_valid.then(|| NetworkList::new(Records::of(v4, v6)))
}

/// The line of a list file, from 1, that has a network.
pub fn line_in_list(file: &SourceFile, network: Network) -> Option<u32> {
    let is_it = |line: &str| {
        let text = line.split('#').next().unwrap_or_default().trim();
        !text.is_empty() && text.parse() == Ok(network)
    };
    let index = file.text.lines().position(is_it)?;
    u32::try_from(index + 1).ok()
}

/// A network that is as it should be; every other line is read once more for its message.
fn parse(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix_length(prefix)?)),
        None => (text, None),
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => {
            let prefix = prefix.unwrap_or(32);
            (prefix <= 32 && address.to_bits() & host_bits_v4(prefix) == 0).then_some((IpAddr::V4(address), prefix))
        }
        IpAddr::V6(address) => {
            let prefix = prefix.unwrap_or(128);
            let is_whole = prefix <= 128 && address.to_bits() & host_bits_v6(prefix) == 0;
            is_whole.then(|| as_ipv4(address, prefix).unwrap_or((IpAddr::V6(address), prefix)))
        }
    }
}

/// The IPv4 network of an IPv4-mapped one.
fn as_ipv4(address: Ipv6Addr, prefix: u8) -> Option<(IpAddr, u8)> {
    let ip: Ipv4Addr = address.to_ipv4_mapped()?;
    Some((IpAddr::V4(ip), prefix.checked_sub(96)?))
}

/// Digits alone, and no needless zero before them.
fn prefix_length(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

fn fault(file: &SourceFile, span: Span, text: &str) -> Diagnostic {
    let shown: String = text.chars().take(SHOWN).collect();
    let message = match shown.parse::<Network>() {
        Err(error) => error.to_string(),
        Ok(_) => format!("`{shown}` is not a network: the prefix length has digits that it does not need"),
    };
    let found = Diagnostic::error(TreeCode::InvalidValue, file, span, message);
    found.help("a list file holds one network a line; `#` begins a comment")
}
