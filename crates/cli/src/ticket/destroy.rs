//! `countersign ticket destroy`.

use super::members;
use crate::args::TicketDestroyArguments;
use crate::{report, sources};
use countersign::Refusal;
use countersign::credentials::{self, CcacheName};

pub(super) fn run(arguments: &TicketDestroyArguments) -> Result<(), Refusal> {
    let name = sources::ccache(arguments.ccache.as_deref())?;
    if !arguments.all {
        return destroy(&name);
    }
    let mut ended = Ok(());
    // One that cannot be removed is no reason to leave the tickets of the others.
    for member in members(&name)? {
        let destroyed = destroy(&member.name);
        if let (Err(earlier), Err(_)) = (&ended, &destroyed) {
            report::line(&format!("countersign: {earlier}"));
        }
        ended = destroyed.and(ended);
    }
    ended
}

fn destroy(name: &CcacheName) -> Result<(), Refusal> {
    credentials::destroy(name)?;
    report::line(&format!("{name} is removed"));
    Ok(())
}
