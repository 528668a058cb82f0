//! Notices to people and programs elsewhere: what becomes a message, for whom, in which words, and when it is tried. Pure.
//!
//! The owner of the fleet writes letters beside what caused them ([`Desk`]); they wait in the store, and an [`Outbox`] for
//! each notifier decides which of them are sent now, together or again.

mod body;
mod desk;
mod document;
mod entries;
mod forge;
mod letter;
mod news;
mod notifier;
mod outbox;
mod reading;
mod text;
mod told;
mod topic;

pub use body::{message, test_message};
pub use desk::{Desk, WrittenLetters};
pub use document::{FailureDocument, NotifierDocument, NotifyTestAnswer};
pub use forge::{InvalidRepository, RepositoryApi, status_body};
pub use letter::{
    CommitState, CommitStatus, GIVEN_UP_PREFIX, GivenUp, LETTER_PREFIX, Letter, LetterContent, MOST_NEWS, Posted,
    letter_key,
};
pub use news::{News, NewsKind};
pub use notifier::{Forge, NewsFilter, Notifier, NotifierKind, UrlSource};
pub use outbox::{DeliveryFailure, LastFailure, Outbox, OutgoingMessage, StoreChange};
pub use text::paragraphs;
pub use told::{TOLD_PREFIX, Told, ToldMark};
pub use topic::Topic;
