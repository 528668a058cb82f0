//! No file imports one that imports it, but a parent and its children. I/O: reads the sources.
//!
//! Keeps: what this looks at are paths, in `use` lines and in code; a name that a file re-exports counts as that file's.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{code, production};
use crate::workspace::{WorkFile, assert_none, files};

/// A module as the names of its path in the crate.
type Module = Vec<String>;
/// Whom each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Folders without circles.
const WORKERS: &str = "edge/src/act/workers/";
/// Folders in which only a parent and its children import each other.
const FREE: [&str; 2] = ["reconciler/src/act/", "reconciler/src/decide/"];

/// The module that a file of a crate is.
fn module_of(path: &str) -> Module {
    let (_, inside) = path.split_once("src/").expect("a source file");
    let names = inside.trim_end_matches(".rs").split('/').map(str::to_owned);
    names.filter(|name| !["mod", "lib"].contains(&name.as_str())).collect()
}

/// Every path of a `use` line, groups taken apart.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.split_whitespace().next().unwrap_or_default().to_owned()];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    let paths = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    paths.flat_map(expand).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// The paths that a file names: all of its `use` lines, and elsewhere those that start at `super` or `crate`.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let before = code[..start].trim_end_matches(' ');
        if before.is_empty() || before.ends_with(['\n', ')', '{', ';']) || before.ends_with("pub") {
            let tree = code[start + 4..].split(';').next().unwrap_or_default();
            found.extend(expand(&tree.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    for anchor in ["super::", "crate::"] {
        for (start, _) in code.match_indices(anchor) {
            let before = &code[..start];
            let is_part = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            // A visibility such as `pub(in super::super)` does not import anything.
            if !is_part && !before.ends_with("(in ") {
                let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                found.push(code[start..].chars().take_while(|c| is_path(*c)).collect());
            }
        }
    }
    found
}

/// The module that a path leads to from a module: the last one on its way that is a file.
fn resolve(path: &str, from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut names = path.split("::").peekable();
    let mut at = from.clone();
    match *names.peek()? {
        "crate" => {
            names.next();
            at.clear();
        }
        "self" => _ = names.next(),
        "super" => {
            while names.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        child => {
            at.push(child.to_owned());
            if !modules.contains(&at) {
                return None;
            }
            names.next();
        }
    }
    for name in names {
        at.push(name.to_owned());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    modules.contains(&at).then_some(at)
}

/// Who imports whom among files, each with its path and its text.
fn imports<'f>(files: impl Iterator<Item = (&'f str, &'f str)>) -> Imports {
    let texts: BTreeMap<Module, &str> = files.map(|(path, text)| (module_of(path), text)).collect();
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let of = |module: &Module, text: &str| {
        let code = code(text);
        let paths = paths(production(&code));
        let named = paths.iter().filter_map(|path| resolve(path, module, &modules));
        named.filter(|other| other != module).collect()
    };
    texts.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

fn reaches<'i>(
    imports: &'i Imports,
    from: &'i Module,
    kept: impl Fn(&Module, &Module) -> bool,
) -> BTreeSet<&'i Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        let further = imports[module].iter().filter(|other| kept(module, other));
        next.extend(further.filter(|other| seen.insert(*other)));
    }
    seen
}

/// Modules that reach each other, by the imports that are kept.
fn circles(imports: &Imports, kept: impl Fn(&Module, &Module) -> bool) -> BTreeSet<BTreeSet<Module>> {
    let reached: BTreeMap<_, _> = imports.keys().map(|from| (from, reaches(imports, from, &kept))).collect();
    let circle = |from: &Module| {
        let back = reached[from].iter().filter(|other| reached[**other].contains(from));
        back.map(|other| (*other).clone()).collect::<BTreeSet<_>>()
    };
    imports.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

fn is_parent(parent: &Module, child: &Module) -> bool {
    child.split_last().is_some_and(|(_, above)| above == &parent[..])
}

/// Circles of files, without the imports between a parent and its children.
fn beside_families(imports: &Imports) -> BTreeSet<BTreeSet<Module>> {
    circles(imports, |from, to| !is_parent(from, to) && !is_parent(to, from))
}

/// Circles with files that are not below one common parent in the circle.
fn beyond_families(imports: &Imports) -> BTreeSet<BTreeSet<Module>> {
    let is_family = |circle: &BTreeSet<Module>| {
        let heads = circle.iter().filter(|one| !circle.iter().any(|other| is_parent(other, one)));
        heads.count() == 1
    };
    circles(imports, |_, _| true).into_iter().filter(|circle| !is_family(circle)).collect()
}

fn written(circle: &BTreeSet<Module>) -> Vec<String> {
    circle.iter().map(|module| module.join("::")).collect()
}

fn below(folder: &str) -> Imports {
    let is_in = |file: &&WorkFile| file.is_rust() && !file.is_test() && file.path.starts_with(folder);
    let imports = imports(files().iter().filter(is_in).map(|file| (file.path.as_str(), file.text())));
    assert!(imports.len() > 20, "{folder} is where it was: {}", imports.len());
    imports
}

#[test]
fn files_of_the_data_plane_do_not_import_each_other() {
    let imports = below(WORKERS);
    let found = beside_families(&imports).into_iter().chain(beyond_families(&imports));
    let findings: Vec<String> = found.map(|circle| written(&circle).join(" ⇄ ")).collect();
    assert_none("files of the data plane import each other", &findings);
}

#[test]
fn tcp_and_udp_do_not_know_each_other() {
    let imports = below(WORKERS);
    let room = |module: &Module| module.get(2).filter(|name| ["tcp", "udp"].contains(&name.as_str())).cloned();
    let mut findings = Vec::new();
    for (module, imported) in &imports {
        let other = |to: &&Module| room(to).is_some_and(|to| room(module).is_some_and(|own| own != to));
        findings
            .extend(imported.iter().filter(other).map(|to| format!("{} uses {}", module.join("::"), to.join("::"))));
    }
    assert_none("TCP and UDP know each other", &findings);
}

#[test]
fn files_of_the_reconciler_do_not_import_each_other() {
    let found = FREE.iter().flat_map(|folder| beside_families(&below(folder)));
    let findings: Vec<String> = found.map(|circle| written(&circle).join(" ⇄ ")).collect();
    assert_none("files of the reconciler import each other", &findings);
}

#[test]
fn a_circle_is_found_through_groups_paths_and_parents() {
    let of = |files: &[(&str, &str)]| {
        let imports = imports(files.iter().copied());
        (beside_families(&imports).len(), beyond_families(&imports).len())
    };
    // A parent and its children, one of which uses the other.
    let family = [("src/w/mod.rs", "use a::A;"), ("src/w/a.rs", "use super::{W, b::{B, C}};"), ("src/w/b.rs", "")];
    assert_eq!(of(&family), (0, 0));
    // Two children use each other, one in a group and one by a path.
    let siblings = [family[0], family[1], ("src/w/b.rs", "fn f() { super::a::g() }")];
    assert_eq!(of(&siblings), (1, 0));
    // Nobody imports whom a visibility names.
    let visible = [
        family[0],
        ("src/w/a.rs", "pub(in super::super) fn f() {}"),
        ("src/w/b.rs", "use super::super::v::V;"),
        ("src/v.rs", "use crate::w::W;"),
    ];
    assert_eq!(of(&visible), (0, 0));
    // A file beside a family uses its parent, and is used by a child.
    let beside =
        [("src/w/mod.rs", "use a::A;"), ("src/w/a.rs", "use super::super::v::V;"), ("src/v.rs", "use crate::w;")];
    assert_eq!(of(&beside), (0, 1));
    // Comments, strings and tests do not import anything.
    let apart = [
        (
            "src/a.rs",
            "// use super::b;\nconst B: &str = \"use super::b;\";\n#[cfg(test)]\nmod tests {\n use super::super::b;\n}",
        ),
        ("src/b.rs", "use super::a;"),
    ];
    assert_eq!(of(&apart), (0, 0));
}
