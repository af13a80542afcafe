//! `countersign ticket list`.

use super::members;
use crate::args::TicketListArguments;
use crate::{output, report, sources};
use countersign::Refusal;
use countersign::credentials::{self, CcacheName, Found};
use countersign::proto::ccache::{Ccache, Credential};
use countersign::proto::crypto::etype_name;
use countersign::proto::der::Reader;
use countersign::proto::krb5::msg::ticket::Ticket;
use countersign::proto::time::Timestamp;
use std::time::SystemTime;

/// The letters of klist, in its order, and the bits of TicketFlags (RFC 4120 section 5.3) that they stand for.
const FLAGS: [(u32, char); 14] = [
    (1, 'F'),
    (2, 'f'),
    (3, 'P'),
    (4, 'p'),
    (5, 'D'),
    (6, 'd'),
    (7, 'i'),
    (8, 'R'),
    (9, 'I'),
    (11, 'H'),
    (10, 'A'),
    (12, 'T'),
    (13, 'O'),
    (16, 'a'),
];

pub(super) fn run(arguments: &TicketListArguments) -> Result<(), Refusal> {
    let name = sources::ccache(arguments.ccache.as_deref())?;
    let now = Timestamp::from_system(SystemTime::now());
    if !arguments.all {
        // Of a folder the primary one is shown, under its own name as klist does.
        let primary = match &name {
            CcacheName::Dir(_) => credentials::list(&name)?.into_iter().find(|member| member.is_primary),
            _ => None,
        };
        let name = primary.map_or(name, |member| member.name);
        return show(&name, false, now);
    }
    let members = members(&name)?;
    let is_collection = matches!(name, CcacheName::Dir(_));
    let mut ended = Ok(());
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            output::print("\n")?;
        }
        let shown = show(&member.name, is_collection && member.is_primary, now);
        if let (Err(earlier), Err(_)) = (&ended, &shown) {
            report::line(&format!("countersign: {earlier}"));
        }
        ended = shown.and(ended);
    }
    ended
}

fn show(name: &CcacheName, is_primary: bool, now: Timestamp) -> Result<(), Refusal> {
    let found = credentials::find(name)?;
    let primary = if is_primary { " (primary)" } else { "" };
    let mut text = format!("Ticket cache: {name}{primary}\n");
    text.push_str(&format!("Default principal: {}\n\n", found.ccache.default_principal));
    text.push_str("Valid starting        Expires               Service principal\n");
    for credential in &found.ccache.credentials {
        describe(&found.ccache, credential, now, &mut text);
    }
    output::print(&text)?;
    warn(name, &found);
    Ok(())
}

fn describe(ccache: &Ccache, credential: &Credential, now: Timestamp, text: &mut String) {
    let ticket = Ticket::parse(&mut Reader::new(&credential.ticket)).ok();
    let never = Timestamp::default();
    let start = if credential.starttime == never { credential.authtime } else { credential.starttime };
    let state = if credential.endtime <= now {
        " (expired)"
    } else if start > now {
        " (not yet valid)"
    } else {
        ""
    };
    text.push_str(&format!("{start}  {}  {}{state}\n", credential.endtime, credential.server));
    let mut line = |parts: &[Option<String>]| {
        let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
        if !parts.is_empty() {
            text.push_str(&format!("\t{}\n", parts.join(", ")));
        }
    };
    let other_client = credential.client != ccache.default_principal;
    let flags = letters(credential.flags);
    line(&[
        other_client.then(|| format!("for client {}", credential.client)),
        (credential.renew_till != never).then(|| format!("renew until {}", credential.renew_till)),
        (!flags.is_empty()).then(|| format!("Flags: {flags}")),
    ]);
    let etypes = ticket.as_ref().map(|ticket| {
        let (session, sealed) = (etype_name(credential.key_etype), etype_name(ticket.enc_part.etype));
        format!("Etype (skey, tkt): {session}, {sealed}")
    });
    line(&[etypes]);
    let server = ticket.map(|ticket| ticket.sname.to_principal(ticket.realm));
    let other_server = server.filter(|server| *server != credential.server);
    line(&[other_server.map(|server| format!("Ticket server: {server}"))]);
}

fn letters(flags: u32) -> String {
    FLAGS.iter().filter(|(bit, _)| flags & (0x8000_0000 >> bit) != 0).map(|(_, letter)| *letter).collect()
}

/// What is wrong with the file, though it can be read.
fn warn(name: &CcacheName, found: &Found) {
    if let Some(mode) = found.mode.filter(|mode| mode & 0o077 != 0) {
        report::line(&format!(
            "warning: {name} has mode {mode:04o}: others may use these tickets; chmod 600, and log in again if they did"
        ));
    }
    if let Some(owner) = found.planted_by {
        report::line(&format!(
            "warning: {name} belongs to user {owner}, who may have put it there to pose as your services: it is not used; \
             remove it"
        ));
    }
    if found.left_out > 0 {
        report::line(&format!(
            "warning: {name} ends with {} bytes of a ticket that was never written whole; the next one that is added \
             takes its place",
            found.left_out
        ));
    }
}
