//! `schema`: the JSON Schemas of the files that people write.

use schema::reference;

use crate::cli::{Format, SchemaArgs, SchemaOf};
use crate::failure::{Exit, Failure};
use crate::output::print_value;
use crate::policy_schema::policy_schema;
use crate::server_schema::server_schema;

pub(crate) fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    // A schema has no other text than its JSON.
    let format = if args.looks.output == Format::Yaml { Format::Yaml } else { Format::Json };
    let schema = match args.of {
        SchemaOf::Rules => reference::json_schema(),
        SchemaOf::Fleet => reference::fleet_json_schema(),
        SchemaOf::Server => server_schema(),
        SchemaOf::Policy => policy_schema(),
    };
    print_value(format, &schema)?;
    Ok(Exit::Done)
}
