//! `countersign realm list`.

use super::folder;
use super::grants::unexpected;
use crate::args::RealmListArguments;
use crate::{output, sources};
use countersign::Refusal;
use countersign_realm::admin::{AccountView, Request, Response};

pub(super) fn run(arguments: &RealmListArguments) -> Result<(), Refusal> {
    let folder = folder(&arguments.realm);
    let mut after = None;
    if !arguments.json {
        output::print(&format!("{:<40} {:<8} {:>4} {}\n", "Account", "Kind", "Kvno", "State"))?;
    }
    loop {
        let Response::Accounts { accounts, more } = folder.administer(&Request::List { after })? else {
            return Err(unexpected());
        };
        let text =
            accounts.iter().map(|account| if arguments.json { json(account) } else { Ok(row(account)) });
        output::print(&text.collect::<Result<String, _>>()?)?;
        after = accounts.into_iter().last().map(|account| account.name);
        if !more || after.is_none() {
            return Ok(());
        }
    }
}

fn json(account: &AccountView) -> Result<String, Refusal> {
    let line = serde_json::to_string(account);
    line.map(|line| line + "\n").map_err(|error| sources::usage(error.to_string(), "a form in JSON"))
}

fn row(account: &AccountView) -> String {
    let kind = account.kind.word();
    let mut text = format!("{:<40} {kind:<8} {:>4} {}\n", account.name, account.kvno, state(account));
    let mut line = |what: &str, value: String| text.push_str(&format!("\t{what} {value}\n"));
    line("etypes", account.etypes.join(", "));
    if !account.older_kvnos.is_empty() {
        let older: Vec<String> = account.older_kvnos.iter().map(ToString::to_string).collect();
        line("older keys", format!("kvno {}", older.join(", ")));
    }
    if !account.aliases.is_empty() {
        line("aliases", account.aliases.join(", "));
    }
    for (what, time) in [("expires", &account.expires), ("password expires", &account.password_expires)] {
        if let Some(time) = time {
            line(what, time.clone());
        }
    }
    for (what, seconds) in [("longest life", account.max_life), ("renewable", account.max_renewable_life)] {
        if let Some(seconds) = seconds {
            line(what, format!("{seconds} s"));
        }
    }
    if !account.forwardable {
        line("tickets", "not forwardable".to_owned());
    }
    text
}

fn state(account: &AccountView) -> String {
    let mut parts = Vec::new();
    if account.disabled {
        parts.push("disabled".to_owned());
    }
    if account.failures > 0 {
        let last = account.last_failure.as_deref().unwrap_or("?");
        parts.push(format!("{} failures, the last one {last}", account.failures));
    }
    if let Some(until) = &account.locked_until {
        parts.push(format!("locked until {until}"));
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
