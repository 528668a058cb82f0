//! `schema`: the JSON Schema of a rule file, made from the field table.

use schema::reference;

use crate::cli::{Format, SchemaArgs};
use crate::failure::{Exit, Failure};
use crate::output::print_value;

pub(crate) fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    // A schema has no other text than its JSON.
    let format = if args.looks.output == Format::Yaml { Format::Yaml } else { Format::Json };
    print_value(format, &reference::json_schema())?;
    Ok(Exit::Done)
}
