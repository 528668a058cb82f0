//! A plan file: the plan together with the tree that it was made from, sealed against edits. Pure.
//!
//! The seal finds accidents and careless edits; who may apply is the business of the token, and the server makes
//! every plan again from the files before anything is sent.

use std::sync::Arc;

use schema::canonical::Digest;
use schema::diagnostic::SourceFile;
use serde::{Deserialize, Serialize};

use super::PlanDocument;

/// One file of a tree in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDocument {
    /// Label, relative to the tree.
    pub path: Arc<str>,
    /// Content, shared with every other reader: a tree may have 256 MiB.
    pub text: Arc<str>,
}

impl From<&SourceFile> for FileDocument {
    fn from(file: &SourceFile) -> Self {
        Self { path: file.path.clone(), text: file.text.clone() }
    }
}

/// What `plan --out` writes and `apply PLANFILE` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    /// `plan_file`
    pub kind: String,
    /// Digest over everything else.
    pub seal: Digest,
    /// The plan.
    pub plan: PlanDocument,
    /// The tree.
    pub files: Vec<FileDocument>,
}

/// Why a plan file cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// Not JSON, or not of this form.
    #[error("not a plan file of this version: {0}")]
    Form(#[from] serde_json::Error),
    /// Its content and its seal disagree.
    #[error("the plan file was changed after it was written")]
    Edited,
}

impl PlanFile {
    /// Seals a plan with its files.
    pub fn new(plan: PlanDocument, files: &[SourceFile]) -> Self {
        let mut file = Self {
            kind: "plan_file".to_owned(),
            seal: Digest::default(),
            plan,
            files: files.iter().map(FileDocument::from).collect(),
        };
        file.seal = file.compute_seal();
        file
    }

    /// Reads a plan file and checks its seal and its plan's identity.
    pub fn read(text: &str) -> Result<Self, PlanFileError> {
        let file: Self = serde_json::from_str(text)?;
        let is_intact =
            file.kind == "plan_file" && file.seal == file.compute_seal() && file.plan.plan_id == file.plan.compute_id();
        if is_intact { Ok(file) } else { Err(PlanFileError::Edited) }
    }

    fn compute_seal(&self) -> Digest {
        let bare = Self { seal: Digest::default(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&bare).expect("the document holds only maps with text keys"))
    }
}
