//! What a mistake on the command line was probably meant as. Pure but for reading the arguments.
//!
//! Keeps: no tip names a flag that allows what a guard refuses; those are never offered, only asked for.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// Beginning of the flags that are never suggested.
const NEVER: &str = "--allow-";

/// Flags of other tools, and what they are here: a flag, or a sentence. A flag that the command does not have is passed
/// over.
const FLAGS: &[(&str, &str)] = &[
    ("auto-approve", "--yes"),
    ("auto-apply", "--yes"),
    ("approve", "--yes"),
    ("assume-yes", "--yes"),
    ("assumeyes", "--yes"),
    ("no-confirm", "--yes"),
    ("noconfirm", "--yes"),
    ("confirm", "--yes"),
    ("non-interactive", "--yes"),
    ("no-input", "--yes"),
    ("detailed-exit-code", "--detailed-exitcode"),
    ("format", "--output"),
    ("wait", "--timeout"),
    ("wait-timeout", "--timeout"),
    ("reason", "--why"),
    ("message", "--why"),
    ("duration", "--ttl"),
    ("expires", "--ttl"),
    ("json", "use '-o json'"),
    ("yaml", "use '-o yaml'"),
    ("dry-run", "'portunus plan' shows what would change, and changes nothing"),
    ("diff", "'portunus plan' shows what would change, and changes nothing"),
    ("file", "name the rule tree without a flag, as in 'portunus plan DIR'"),
    ("filename", "name the rule tree without a flag, as in 'portunus plan DIR'"),
];

/// Commands of other tools, and what they are here; an empty text stands for none.
const COMMANDS: &[(&str, &str)] = &[
    ("diff", "plan"),
    ("preview", "plan"),
    ("deploy", "apply"),
    ("sync", "apply"),
    ("push", "apply"),
    ("get", "status"),
    ("show", "status"),
    ("list", "rules"),
    ("ls", "rules"),
    ("log", "history"),
    ("logs", "events"),
    ("watch", "events"),
    ("undo", "rollback"),
    ("revert", "rollback"),
    ("lint", "validate"),
    ("check", "validate"),
    ("format", "fmt"),
    ("start", "up"),
    ("run", "up"),
    ("server", "serve"),
    ("agent", "edge"),
    ("destroy", ""),
    ("delete", ""),
];

/// The same error with a tip that helps.
pub(super) fn explained(mut error: Error, mut root: Command, arguments: &[String]) -> Error {
    root.build();
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidValue => flag(&mut error, &root, arguments),
        ErrorKind::InvalidSubcommand => subcommand(&mut error),
        _ => {}
    }
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::Suggested] {
        if error.get(kind).is_some_and(|value| value.to_string().contains(NEVER)) {
            error.remove(kind);
        }
    }
    if error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains(NEVER)) {
        let usage = command_of(&root, arguments).clone().render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    error
}

fn flag(error: &mut Error, root: &Command, arguments: &[String]) {
    let Some(ContextValue::String(invalid)) = error.get(ContextKind::InvalidArg) else { return };
    let command = command_of(root, arguments);
    let has = |flag: &str| command.get_arguments().any(|arg| Some(flag) == arg.get_long());
    let word = match error.kind() {
        // `-auto-approve` and `-out FILE`, as Terraform takes them, are read as several short flags.
        ErrorKind::InvalidValue => long_with_one_dash(arguments).filter(|word| has(word)),
        _ => invalid.strip_prefix("--").map(str::to_owned).or_else(|| long_with_one_dash(arguments)),
    };
    let Some(word) = word else {
        // That a flag can be passed as a value after `--` helps nobody who mistyped one.
        error.remove(ContextKind::Suggested);
        return;
    };
    let known = FLAGS.iter().filter(|(other, _)| *other == word).map(|(_, tip)| *tip);
    let known = known.chain(has(&word).then_some("")).find(|tip| match tip.strip_prefix("--") {
        Some(flag) => has(flag),
        None => true,
    });
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::Suggested);
    }
    let tip = match known {
        None => return,
        Some("") => format!("use '--{word}', with two dashes"),
        Some(flag) if flag.starts_with("--") => format!("use '{flag}'"),
        Some(sentence) => sentence.to_owned(),
    };
    error.remove(ContextKind::SuggestedArg);
    if error.kind() == ErrorKind::UnknownArgument {
        let usage = command.clone().render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
}

fn subcommand(error: &mut Error) {
    let Some(ContextValue::String(invalid)) = error.get(ContextKind::InvalidSubcommand) else { return };
    let Some((_, meant)) = COMMANDS.iter().find(|(other, _)| other == invalid) else { return };
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::Suggested);
    if !meant.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::String((*meant).to_owned()));
    }
}

/// The command that the arguments name, as far as they name one.
fn command_of<'c>(root: &'c Command, arguments: &[String]) -> &'c Command {
    let mut command = root;
    for argument in arguments.iter().skip(1) {
        match command.find_subcommand(argument) {
            Some(deeper) => command = deeper,
            None if command.has_subcommands() && argument.starts_with('-') => {}
            None => break,
        }
    }
    command
}

/// The first word behind a single dash that has several letters.
fn long_with_one_dash(arguments: &[String]) -> Option<String> {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").find_map(|argument| {
        let word = argument.strip_prefix('-').filter(|word| !word.starts_with('-'))?;
        let word = word.split('=').next().unwrap_or(word);
        let is_word = word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        is_word.then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn said(line: &str) -> String {
        let arguments: Vec<String> =
            ["portunus"].into_iter().chain(line.split_whitespace()).map(str::to_owned).collect();
        let error = Cli::try_parse_from(&arguments).expect_err(line);
        explained(error, Cli::command(), &arguments).render().to_string()
    }

    #[test]
    fn no_tip_names_a_flag_that_allows_anything() {
        let root = Cli::command();
        for command in root.get_subcommands() {
            for word in
                ["auto-approve", "allow", "allow-", "removals", "alow-removals", "overwrite", "offline", "dirty"]
            {
                let arguments: Vec<String> =
                    ["portunus", command.get_name(), &format!("--{word}")].map(str::to_owned).to_vec();
                let Err(error) = Cli::try_parse_from(&arguments) else { continue };
                let said = explained(error, Cli::command(), &arguments).render().to_string();
                let tips = said.replace(&format!("'--{word}'"), "");
                assert!(!tips.contains("--allow"), "{said}");
            }
        }
        assert!(!said("--allow-dirty").replace("'--allow-dirty'", "").contains("--allow"), "{}", said("--allow-dirty"));
    }

    #[test]
    fn flags_and_commands_of_other_tools_get_the_words_of_this_one() {
        for (line, tip) in [
            ("apply --auto-approve", "tip: use '--yes'"),
            ("apply -auto-approve", "tip: use '--yes'"),
            ("apply -auto-approve=true", "tip: use '--yes'"),
            ("rollback abc --assume-yes", "tip: use '--yes'"),
            ("status --json", "tip: use '-o json'"),
            ("apply --dry-run", "tip: 'portunus plan' shows"),
            ("plan --detailed-exit-code", "tip: use '--detailed-exitcode'"),
            ("plan -out x", "tip: use '--out', with two dashes"),
            ("diff", "tip: a similar subcommand exists: 'plan'"),
        ] {
            assert!(said(line).contains(tip), "{line}: {}", said(line));
        }
        assert!(!said("destroy").contains("tip"), "{}", said("destroy"));
        assert!(!said("apply --force").contains("tip"), "{}", said("apply --force"));
        assert!(said("status --ouput json").contains("'--output'"), "a typing error is still found");
    }
}
