//! Where connections and flows go: which rule takes them, which targets they try, and where those are found.

pub(super) mod addresses;
pub(super) mod choice;
pub(super) mod local_addresses;
pub(super) mod outgoing;
pub(super) mod question;
pub(super) mod resolver;
pub(super) mod routing;
