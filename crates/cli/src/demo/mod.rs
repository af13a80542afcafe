//! `countersign demo`: a realm, a service and a client in one process, and what each of them proves.

mod recorder;
mod scene;

use crate::output;
use countersign::Refusal;
use countersign::proto::error::code;
use recorder::Recorder;
use scene::{Met, REALM, SPN, Scene, USER};

/// Shows it, and takes everything away again.
pub(crate) fn run() -> Result<(), Refusal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| scene::failed("the program's own event loop", &error))?;
    let shown = runtime.block_on(show());
    runtime.shutdown_background();
    shown
}

async fn show() -> Result<(), Refusal> {
    let scene = Scene::new().await?;
    say(&format!(
        "A realm of its own, {REALM}, is made in {}, with the user {USER} and the service {SPN}.\n\
         The service listens on {}. It has no keytab and opens no KDC port: its keys are the realm's.\n",
        scene.folder(),
        scene.address(),
    ))?;
    login(&scene).await?;
    wrong_password(&scene).await?;
    replay(&scene).await?;
    false_service(&scene).await?;
    drop(scene);
    say("All of it is gone again. README.md says how to do the same with a service of yours.")
}

/// The user logs in through the service alone, and both prove who they are.
async fn login(scene: &Scene) -> Result<(), Refusal> {
    say(&format!("1. {USER} connects with a password. She has no ticket and knows no KDC."))?;
    let recorder = Recorder::before(scene.address()).await?;
    let met = scene.meet(recorder.address(), &scene.by_password(scene.password())).await?;
    let Met::Context { service_knows, client_knows, reply } = met else {
        return Err(unexpected("the login"));
    };
    let record = recorder.record();
    say(&format!(
        "   {} tokens went to the service and {} came back: it carried {}'s messages to the realm's KDC and read none;\n   \
         SPAKE proved the password without sending anything that it could be guessed from.\n   \
         The service knows: {}.\n   {USER} knows: {}.\n   \
         Then \"hello\" went sealed ({} bytes on the wire, {}) and came back: \"{reply}\".\n",
        record.tokens_from_client.saturating_sub(1),
        record.tokens_from_service.saturating_sub(1),
        USER,
        service_knows,
        client_knows,
        record.last_from_client,
        if record.shows("hello") { "READABLE" } else { "unreadable" },
    ))?;
    if record.shows("hello") { Err(unexpected("a message that anybody can read")) } else { Ok(()) }
}

async fn wrong_password(scene: &Scene) -> Result<(), Refusal> {
    say(&format!("2. Somebody connects as {USER} with a wrong password."))?;
    let met = scene.meet(scene.address(), &scene.by_password("no-such-password")).await?;
    let Met::Refused { by_client, .. } = met else { return Err(unexpected("a wrong password")) };
    said_no("the realm's KDC", &by_client, code::KDC_PREAUTH_FAILED)
}

/// What a client sent is sent again, byte by byte, on a new connection.
async fn replay(scene: &Scene) -> Result<(), Refusal> {
    say(&format!("3. {USER} connects with a ticket; somebody records the bytes and sends them again."))?;
    let recorder = Recorder::before(scene.address()).await?;
    let client = scene.by_ticket()?;
    let Met::Context { .. } = scene.meet(recorder.address(), &client).await? else {
        return Err(unexpected("the login with a ticket"));
    };
    let refusal = scene.send_again(&recorder.record().from_client).await?;
    said_no("the service", &refusal, code::REPLAY)
}

/// A service that holds other keys, and carries messages to the real KDC.
async fn false_service(scene: &Scene) -> Result<(), Refusal> {
    say(&format!("4. {USER} is led to a false service, which carries her messages to the real KDC."))?;
    let address = scene.false_service().await?;
    let met = scene.meet(address, &scene.by_password(scene.password())).await?;
    let Met::Refused { by_client, .. } = met else { return Err(unexpected("a false service")) };
    say("   She logs in and gets a ticket, which the false service cannot open; it learns no password.")?;
    said_no(USER, &by_client, code::KRB_ERROR_RECEIVED)
}

fn said_no(who: &str, refusal: &Refusal, expected: countersign::Code) -> Result<(), Refusal> {
    if refusal.code() != expected {
        return Err(refusal.clone());
    }
    say(&format!("   Refused, and {who} says why: {} {}.\n", refusal.code(), refusal.saw()))
}

fn unexpected(what: &str) -> Refusal {
    Refusal::new(
        code::STATE_MISUSED,
        format!("{what} with another end than it must have"),
        "no such end in the demo",
    )
}

fn say(text: &str) -> Result<(), Refusal> {
    output::print(&format!("{text}\n"))
}
