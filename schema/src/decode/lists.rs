//! Lists and maps of strings, each with its place, and the forms of their entries. Pure.

use super::value::{MAX_FORM, Refused, bounded, plain};
use super::{Decoded, Decoder, shortened};
use crate::codes::TreeCode;
use crate::diagnostic::Span;
use crate::fields::Field;
use crate::policy::{InvalidNetwork, Network};
use crate::quota::TimeZoneName;
use crate::sni::ServerName;
use crate::text::{self, Node};

impl Decoder<'_> {
    /// A list of strings of one form, each with its place.
    pub(super) fn list<T>(
        &mut self,
        items: Vec<Node<'_>>,
        field: &'static Field,
        parse: impl Fn(&str) -> Result<T, Refused>,
    ) -> Option<Vec<(Span, T)>> {
        let mut values = Vec::with_capacity(items.len());
        let mut whole = true;
        for item in items {
            let parsed = match item.value {
                text::Value::String(text) => bounded(&text, MAX_FORM, field).and_then(|()| parse(&text)),
                other => Err(Refused::new(
                    TreeCode::WrongType,
                    format!("`{}` must be a list of strings, but one entry is {}", field.key, other.kind()),
                )),
            };
            match parsed {
                Ok(value) => values.push((item.span, value)),
                Err(refusal) => {
                    self.refuse(item.span, refusal);
                    whole = false;
                }
            }
        }
        whole.then_some(values)
    }

    pub(super) fn texts<'a>(&mut self, items: Vec<Node<'a>>, max: usize, field: &'static Field) -> Option<Decoded<'a>> {
        let mut texts = Vec::with_capacity(items.len());
        let mut whole = true;
        for item in items {
            let refusal = match item.value {
                text::Value::String(text) => match plain(&text, max, false, field) {
                    Ok(()) => {
                        texts.push((item.span, text));
                        continue;
                    }
                    Err(refusal) => refusal,
                },
                other => Refused::new(
                    TreeCode::WrongType,
                    format!("`{}` must be a list of strings, but one entry is {}", field.key, other.kind()),
                ),
            };
            self.refuse(item.span, refusal);
            whole = false;
        }
        whole.then_some(Decoded::Texts(texts))
    }

    pub(super) fn text_map<'a>(&mut self, entries: Vec<text::Entry<'a>>, field: &'static Field) -> Option<Decoded<'a>> {
        let mut map = Vec::with_capacity(entries.len());
        let mut whole = true;
        for entry in entries {
            let refusal = match entry.node.value {
                text::Value::String(text) => {
                    let checked = plain(&entry.key, 63, false, field).and_then(|()| plain(&text, 253, false, field));
                    match checked {
                        Ok(()) if !entry.key.is_empty() => {
                            map.push((entry.key, text));
                            continue;
                        }
                        Ok(()) => Refused::new(TreeCode::InvalidValue, format!("a key of `{}` is empty", field.key)),
                        Err(refusal) => refusal,
                    }
                }
                other => Refused::new(
                    TreeCode::WrongType,
                    format!("`{}.{}` must be a string, not {}", field.key, shortened(&entry.key), other.kind()),
                ),
            };
            self.refuse(entry.node.span, refusal);
            whole = false;
        }
        whole.then_some(Decoded::Map(map))
    }
}

pub(super) fn server_name(text: &str) -> Result<ServerName, Refused> {
    ServerName::parse(text).map_err(|error| {
        let message = format!("`{}` is not a valid server name: {error}", shortened(text));
        Refused::new(TreeCode::InvalidValue, message)
            .help("write a DNS name such as www.example.org, or *.example.org for every name one label below it")
    })
}

pub(super) fn network(text: &str) -> Result<Network, Refused> {
    let shown = shortened(text);
    text.parse::<Network>().map_err(|error| match error {
        InvalidNetwork::Form(_) => {
            let message = format!("`{shown}` is not a valid network");
            Refused::new(TreeCode::InvalidValue, message)
                .help("write an address with a prefix length, such as 10.0.0.0/8 or 2001:db8::/32, or an address")
        }
        InvalidNetwork::HostBits { network, .. } => {
            let message = format!("`{shown}` has bits set beyond its prefix");
            Refused::new(TreeCode::InvalidValue, message).help(format!("write \"{network}\""))
        }
    })
}

pub(super) fn time_zone(text: &str) -> Result<(), Refused> {
    if TimeZoneName::parse(text).is_some() {
        return Ok(());
    }
    let message = format!("`{}` is not the IANA name of a time zone", shortened(text));
    let help = match TimeZoneName::alike(text) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write a name such as UTC or Europe/Berlin".to_owned(),
    };
    Err(Refused::new(TreeCode::InvalidValue, message).help(help))
}
