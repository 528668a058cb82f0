//! What git would store of a file of the work tree, as far as no program has a part in it: line endings, `$Id$` and
//! encodings (gitattributes(5)). I/O, blocking.
//!
//! Keeps: filters stay unrun. The drivers of the repository's configuration are left out, and a path that has one is
//! named as such.

use std::io::Read;
use std::path::Path;

use gix::Repository;
use gix::bstr::{BString, ByteSlice};
use gix::filter::plumbing::eol;
use gix::filter::plumbing::pipeline::convert::ToGitOutcome;
use gix::filter::plumbing::pipeline::{CrlfRoundTripCheck, Options};
use gix::prelude::FindExt;
use gix::worktree::stack::state::attributes::Source;

use super::discover::UserConfig;

/// Turns contents of the work tree into what git would store.
pub(super) struct Cleaner<'r> {
    repository: &'r Repository,
    attributes: gix::worktree::Stack,
    index: gix::worktree::Index,
    pipeline: gix::filter::plumbing::Pipeline,
}

impl<'r> Cleaner<'r> {
    pub(super) fn new(repository: &'r Repository, user: &UserConfig) -> Result<Self, gix::Error> {
        let index = repository.index_or_empty()?;
        let attributes = repository.attributes_only(&index, Source::WorktreeThenIdMapping)?.detach();
        let own = repository.config_snapshot();
        let auto_crlf = own.string("core.autocrlf").or_else(|| user.auto_crlf.clone());
        let end = own.string("core.eol").or_else(|| user.eol.clone());
        let options = Options {
            drivers: Vec::new(),
            eol_config: eol::Configuration {
                auto_crlf: auto_crlf_of(auto_crlf.as_ref()),
                eol: end.as_ref().and_then(end_of_line),
            },
            crlf_roundtrip_check: CrlfRoundTripCheck::Skip,
            encodings_with_roundtrip_check: Vec::new(),
        };
        let pipeline =
            gix::filter::plumbing::Pipeline::new(gix::command::Context::default(), repository.object_hash(), options);
        Ok(Self { repository, attributes, index, pipeline })
    }

    /// What git would store for a file with this content at a path from the top of the work tree.
    pub(super) fn cleaned(&mut self, path: &Path, content: &[u8]) -> Result<Vec<u8>, gix::Error> {
        let (index, objects) = (&self.index, &self.repository.objects);
        let here = self.attributes.at_path(path, None, objects).map_err(gix::Error::from_error)?;
        let mut indexed = |buffer: &mut Vec<u8>| {
            let entry = gix::path::into_bstr(path).ok().and_then(|path| index.entry_by_path(path.as_ref()));
            let Some(entry) = entry else { return Ok(None) };
            Ok(objects.find_blob(&entry.id, buffer).ok().map(|_| ()))
        };
        let outcome = self.pipeline.convert_to_git(
            content,
            path,
            &mut |_, attributes| {
                here.matching_attributes(attributes);
            },
            &mut indexed,
        )?;
        Ok(match outcome {
            ToGitOutcome::Unchanged(same) => same.to_vec(),
            ToGitOutcome::Buffer(buffer) => buffer.to_vec(),
            ToGitOutcome::Process(mut read) => {
                let mut all = Vec::new();
                read.read_to_end(&mut all).map_err(gix::Error::from_error)?;
                all
            }
        })
    }

    /// The name of the filter that the attributes of a path ask for.
    pub(super) fn filter(&mut self, path: &Path) -> Result<Option<String>, gix::Error> {
        let mut found = gix::attrs::search::Outcome::default();
        found.initialize_with_selection(&gix::attrs::search::MetadataCollection::default(), ["filter"]);
        let here = self.attributes.at_path(path, None, &self.repository.objects).map_err(gix::Error::from_error)?;
        here.matching_attributes(&mut found);
        let filter = found.iter_selected().find_map(|matched| match matched.assignment.state {
            gix::attrs::StateRef::Value(value) => Some(value.as_bstr().to_str_lossy().into_owned()),
            _ => None,
        });
        Ok(filter)
    }
}

fn auto_crlf_of(value: Option<&BString>) -> eol::AutoCrlf {
    match value.map(|value| value.to_ascii_lowercase()).as_deref() {
        Some(b"input") => eol::AutoCrlf::Input,
        Some(b"true" | b"yes" | b"on" | b"1") => eol::AutoCrlf::Enabled,
        _ => eol::AutoCrlf::Disabled,
    }
}

fn end_of_line(value: &BString) -> Option<eol::Mode> {
    match value.to_ascii_lowercase().as_slice() {
        b"lf" => Some(eol::Mode::Lf),
        b"crlf" => Some(eol::Mode::CrLf),
        _ => None,
    }
}
