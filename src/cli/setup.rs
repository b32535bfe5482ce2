//! `walhook setup`.

use super::Outcome;
use crate::config::Config;
use crate::setup;

/// Make the store, the publication and the slot
///
/// Creates what is missing, in this order: the store's tables, the encryption key file,
/// the publication of the tables that rules watch, the replication slot, and the
/// record of where it begins. Run it again after every change of the rules: what is
/// there already is kept, a publication that differs is altered. Tables that no rule
/// watches any more stay published until --remove-tables.
///
/// It refuses where a published table would make the application's own writes fail, and
/// says which SQL fixes that. It refuses where the slot does not continue what was
/// delivered (it was lost, dropped or moved, or the database is another one): what was
/// committed meanwhile can then not be delivered, and only --accept-gap goes on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook setup
  walhook setup --print-sql > walhook.sql    for a DBA: roles, rights, publication
  walhook setup --accept-gap                 after the slot was lost, dropped or moved

Next: `walhook token create --tenant …`, then `walhook run`.")]
pub struct Args {
    /// Print the statements for a DBA, with least-privilege roles, and change nothing.
    #[arg(long, conflicts_with = "accept_gap")]
    print_sql: bool,

    /// Where there is a gap, go on after it: record it in the store, make the slot again
    /// where it is of no more use, and say what is NOT delivered and how to send it by
    /// hand. Events, deliveries and subscriptions stay. Without a gap it does nothing.
    #[arg(long)]
    accept_gap: bool,

    /// Take tables that no rule watches out of the publication. Without it they stay in, and
    /// setup names them: another configuration may run with the same publication. Refused
    /// where an instance that runs watches one of them.
    #[arg(long, conflicts_with = "print_sql")]
    remove_tables: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    if args.print_sql {
        super::print_file(&setup::print_sql(config)?)?;
        return Ok(Outcome::Holds);
    }
    let report = setup::set_up_with(config, args.accept_gap, args.remove_tables).await?;
    let mut lines = report.lines();
    lines.line("");
    lines.line("Next: `walhook run`.");
    super::print_lines(&lines)?;
    Ok(Outcome::Holds)
}
