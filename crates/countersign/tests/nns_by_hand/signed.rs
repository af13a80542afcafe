//! The level Sign: messages in clear text that nobody can change, in the layout of today's .NET and in the older one, where both
//! ends are content with that and nowhere else.

use super::ends::{FACES, fails, succeeds};
use super::*;
use countersign::Refusal;
use countersign::proto::error::{Code, code};
use countersign::proto::krb5::per_message::Confidentiality::{Sealed, SignedOnly};

fn signing_service() -> Service {
    Service::new(service_config(SIGNED, |policy| {
        policy.dangerous().allow_unsealed();
    }))
}

fn signing_initiator() -> Initiator {
    initiator(|policy| {
        policy.dangerous().sign_only();
    })
}

/// A message that is signed in a wrap token.
fn signed(context: &mut SecurityContext, message: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    context.sender().wrap(SignedOnly, message, &mut TestRng::new(9), &mut token).unwrap();
    ends::framed(&token)
}

/// The signature, and the message behind it, as MakeSignature's callers lay it out.
fn with_mic(context: &mut SecurityContext, message: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    context.sender().mic(&[message], &mut token).unwrap();
    token.extend_from_slice(message);
    ends::framed(&token)
}

/// A service's session with a client that asks for `initiator`'s protection.
fn met(service: &Service, initiator: &Initiator) -> (Session<UnixStream>, SecurityContext, UnixStream) {
    let (session, (context, near)) = accepting(Face::Blocking, service, |mut near| {
        let context = agree(&mut near, initiator);
        (context, near)
    });
    (succeeds(session), context, near)
}

#[test]
fn both_layouts_are_taken_where_that_is_allowed_and_ours_is_readable_and_not_sealed() {
    for face in FACES {
        let (session, (mut context, mut near)) =
            accepting(face, &signing_service(), |mut near| (agree(&mut near, &signing_initiator()), near));
        let mut session = succeeds(session);
        assert!(!session.facts().sealed() && session.facts().signed());
        let frames = [
            signed(&mut context, b"wrapped"),
            with_mic(&mut context, b"with a MIC"),
            with_mic(&mut context, b""),
            signed(&mut context, b""),
            signed(&mut context, b"wrapped again"),
            sealed(&mut context, b"more than was asked for"),
        ];
        near.write_all(&frames.concat()).unwrap();
        for text in [&b"wrapped"[..], b"with a MIC", b"wrapped again", b"more than was asked for"] {
            assert_eq!(session.receive().unwrap().unwrap(), text, "{face:?}");
        }
        session.send(b"can be read").unwrap();
        let mut message = read_message(&mut near);
        assert_eq!(message[..2], [5, 4], "a wrap token of RFC 4121");
        assert_eq!(message[2] & 2, 0, "not sealed");
        assert_eq!(&message[16..][..11], b"can be read");
        let unwrapped = context.receiver().unwrap_in_place(&mut message).unwrap();
        assert_eq!((&*unwrapped.plaintext, unwrapped.confidentiality), (&b"can be read"[..], SignedOnly));
    }
}

#[test]
fn a_client_that_signs_only_takes_both_layouts_of_its_service() {
    for face in FACES {
        let client = client_of(SIGNED, signing_initiator());
        let (session, (mut context, mut far)) = connecting(face, &client, |mut far| {
            let (kind, token) = read_record(&mut far);
            assert_eq!(kind, IN_PROGRESS);
            let mut policy = AcceptorPolicy::default();
            policy.dangerous().allow_unsealed();
            let (context, reply) = pair::Service::new(&mint(), policy).offer(&token).accepted();
            send_record(&mut far, DONE, &reply);
            (context, far)
        });
        let mut session = succeeds(session);
        far.write_all(&[with_mic(&mut context, b"old"), signed(&mut context, b"new")].concat()).unwrap();
        assert_eq!(session.receive().unwrap().unwrap(), b"old");
        assert_eq!(session.receive().unwrap().unwrap(), b"new");
        session.send(b"ours").unwrap();
        let mut message = read_message(&mut far);
        assert_eq!(context.receiver().unwrap_in_place(&mut message).unwrap().confidentiality, SignedOnly);
    }
}

#[test]
fn a_message_with_a_mic_that_was_changed_anywhere_breaks_the_session() {
    let whole = {
        let (_, mut context, _) = met(&signing_service(), &signing_initiator());
        with_mic(&mut context, b"text")
    };
    for at in 4..whole.len() {
        let (mut session, mut context, mut near) = met(&signing_service(), &signing_initiator());
        let mut frame = with_mic(&mut context, b"text");
        frame[at] ^= 1;
        near.write_all(&[frame, signed(&mut context, b"after it")].concat()).unwrap();
        let refusal = session.receive().unwrap_err();
        assert_eq!(session.receive().unwrap_err(), refusal, "byte {at}");
    }
}

/// The second message of a session, whose first is taken.
#[track_caller]
fn refused(
    (mut session, mut context, mut near): (Session<UnixStream>, SecurityContext, UnixStream),
    make: impl FnOnce(&mut SecurityContext) -> Vec<u8>,
    code: Code,
) -> Refusal {
    let first = sealed(&mut context, b"first");
    near.write_all(&[first, make(&mut context)].concat()).unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"first");
    let refusal = session.receive().unwrap_err();
    assert_eq!(refusal.code(), code, "{refusal}");
    refusal
}

#[test]
fn a_mic_that_is_cut_off_comes_twice_or_too_early_is_refused() {
    let met = || met(&signing_service(), &signing_initiator());
    refused(met(), |_| ends::framed(&[4, 4, 0, 0xFF]), code::MESSAGE_MALFORMED);
    let twice = |context: &mut SecurityContext| {
        let frame = with_mic(context, b"");
        [&frame[..], &frame].concat()
    };
    refused(met(), twice, code::MESSAGE_REPLAYED);
    let early = |context: &mut SecurityContext| {
        signed(context, b"lost");
        with_mic(context, b"text")
    };
    refused(met(), early, code::MESSAGE_OUT_OF_ORDER);
}

#[test]
fn neither_layout_is_taken_by_who_demands_that_messages_are_sealed() {
    let strict = || met(&service(), &initiator(|_| ()));
    let signs = |context: &mut SecurityContext| signed(context, b"text");
    refused(strict(), signs, code::MESSAGE_NOT_SEALED);
    let mics = |context: &mut SecurityContext| with_mic(context, b"text");
    refused(strict(), mics, code::MESSAGE_MALFORMED);
}

/// MIT's and Heimdal's libraries ask for confidentiality whatever their programs do with it.
#[test]
fn where_sealing_was_agreed_on_a_policy_that_demands_less_takes_what_is_signed_in_either_layout() {
    let lax = || met(&signing_service(), &initiator(|_| ()));
    let (mut session, mut context, mut near) = lax();
    near.write_all(&signed(&mut context, b"text")).unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"text");
    near.write_all(&with_mic(&mut context, b"more")).unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"more");
    session.send(b"ours").unwrap();
    let mut message = read_message(&mut near);
    assert_eq!(context.receiver().unwrap_in_place(&mut message).unwrap().confidentiality, Sealed);
}

#[test]
fn a_client_that_asks_for_signatures_alone_is_refused_where_messages_must_be_sealed() {
    for face in FACES {
        let client = client_of(SIGNED, signing_initiator());
        let (near, far) = unix();
        let (serving, connecting) = thread::scope(|scope| {
            let serving = scope.spawn(|| accept(face, &service(), far));
            let connecting = connect(face, &client, near);
            (serving.join().unwrap(), connecting)
        });
        assert_eq!(fails(serving).refusal.code(), code::PROTECTION_TOO_LOW);
        let refusal = fails(connecting).refusal;
        assert_eq!(refusal.code(), code::NNS_ERROR_RECEIVED);
        assert!(refusal.saw().contains("0x000006FE"), "{refusal}");
    }
}
