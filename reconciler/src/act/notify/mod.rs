//! Letters to people and programs elsewhere: kept in the store until their receiver accepts them. I/O.

mod address;
mod post;
mod receiver;
mod sending;
mod slot;
mod waiting;

pub use address::{AddressProblem, ReceiverAddress};
pub use post::{Mailbag, NotifyError, NotifyHandle, Opened, PostOffice};
pub use receiver::ReceiverError;
