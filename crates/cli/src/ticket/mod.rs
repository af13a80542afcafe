//! `countersign ticket`: what kinit, klist and kdestroy do.

mod destroy;
mod get;
mod list;

use crate::args::TicketCommand;
use countersign::Refusal;
use countersign::credentials::{self, CcacheName, Member};
use countersign::proto::error::code;

/// Does what the command says.
pub(crate) fn run(command: &TicketCommand) -> Result<(), Refusal> {
    match command {
        TicketCommand::Get(arguments) => get::run(arguments),
        TicketCommand::List(arguments) => list::run(arguments),
        TicketCommand::Destroy(arguments) => destroy::run(arguments),
    }
}

/// Every cache of a collection, of which there must be one at least.
fn members(name: &CcacheName) -> Result<Vec<Member>, Refusal> {
    let members = credentials::list(name)?;
    if members.is_empty() {
        let saw = format!("no credential cache in {name}");
        return Err(Refusal::new(code::CCACHE_UNREADABLE, saw, "nothing to read instead"));
    }
    Ok(members)
}
