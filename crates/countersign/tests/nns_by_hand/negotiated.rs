//! NTLM in NNS, bare and in SPNEGO: more tokens than Kerberos has, and a last one that the client says it is done with.

use super::ends::kinds::{Keys, Kind};
use super::ends::{FACES, Face, fails, succeeds};
use super::*;
use countersign::proto::error::code;
use countersign::proto::krb5::per_message::Confidentiality;
use countersign::proto::ntlm::initiator::{Credential, Established, begin};
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::NtlmService;

const NTLM: Kind = Kind { framing: Framing::Nns(SEALED), keys: Keys::Ntlm };

fn service() -> Service {
    Service::new(NTLM.service_config())
}

/// A policy that allows NTLM.
fn policy() -> InitiatorPolicy {
    let mut policy = InitiatorPolicy::default();
    policy.dangerous().allow_ntlm();
    policy
}

fn initiator() -> Initiator {
    match NTLM.client_config().credential {
        ClientCredential::Ready(initiator) => initiator,
        ClientCredential::Tickets(_) => panic!("a client of NTLM has no tickets"),
    }
}

/// A client's first message.
fn negotiate() -> Vec<u8> {
    let mut negotiate = Vec::new();
    let _ = begin(&policy(), &mut negotiate);
    negotiate
}

/// NEGOTIATE, CHALLENGE and AUTHENTICATE bare, each in a record that the client sends as of `kinds`.
fn bare(near: &mut UnixStream, kinds: [u8; 2], password: &str) -> Established {
    let (mut negotiate, mut authenticate) = (Vec::new(), Vec::new());
    let negotiated = begin(&policy(), &mut negotiate);
    send_record(near, kinds[0], &negotiate);
    let (kind, challenge) = read_record(near);
    assert_eq!(kind, IN_PROGRESS);
    let credential =
        Credential { user: "alice".into(), domain: "EXAMPLE".into(), nt_hash: nt_hash(password) };
    let rng = &mut TestRng::new(5);
    let established =
        negotiated.challenge(&challenge, &credential, None, now(), rng, &mut authenticate).ok().unwrap();
    send_record(near, kinds[1], &authenticate);
    established
}

#[test]
fn bare_ntlm_is_16_16_14_with_the_authenticate_and_14_with_nothing() {
    for face in FACES {
        // Some clients do not know yet that they are done.
        for last in [DONE, IN_PROGRESS] {
            let (session, (established, mut near)) = accepting(face, &service(), |mut near| {
                let established = bare(&mut near, [IN_PROGRESS, last], "secret");
                assert_eq!(read_record(&mut near), (DONE, Vec::new()));
                (established, near)
            });
            let mut session = succeeds(session);
            assert_eq!(session.facts().client(), r"EXAMPLE\alice");
            assert!(!session.facts().mutual());
            let (mut sender, mut receiver) = established.protection.split(true);
            let mut token = Vec::new();
            sender.wrap(Confidentiality::Sealed, b"by hand", &mut token).unwrap();
            near.write_all(&ends::framed(&token)).unwrap();
            assert_eq!(session.receive().unwrap().unwrap(), b"by hand");
            session.send(b"ours").unwrap();
            let mut message = read_message(&mut near);
            assert_eq!(message.len(), 16 + 4);
            assert_eq!(receiver.unwrap_in_place(&mut message).ok().unwrap().plaintext, b"ours");
        }
    }
}

#[test]
fn a_wrong_password_is_a_denied_logon() {
    for face in FACES {
        let (outcome, told) = accepting(face, &service(), |mut near| {
            bare(&mut near, [IN_PROGRESS, DONE], "wrong");
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).refusal.code(), code::NTLM_PROOF_WRONG);
        assert_eq!(told, record(ERROR, &big_endian(0x8009_030C)));
    }
}

#[test]
fn ntlm_that_is_not_allowed_is_refused_at_its_first_token() {
    for face in FACES {
        let (outcome, told) = accepting(face, &super::service(), |mut near| {
            send_record(&mut near, IN_PROGRESS, &negotiate());
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).refusal.code(), code::NTLM_OFF);
        assert_eq!(told, record(ERROR, &big_endian(0x8009_030C)));
    }
}

#[test]
fn a_client_that_says_it_is_done_and_goes_on_is_refused() {
    for face in FACES {
        let (outcome, told) = accepting(face, &service(), |mut near| {
            bare(&mut near, [DONE, IN_PROGRESS], "secret");
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).refusal.code(), code::TOKEN_UNEXPECTED);
        assert_eq!(told, record(ERROR, &big_endian(0x8009_0308)));
    }
}

#[test]
fn a_client_that_leaves_after_the_challenge_is_told_nothing() {
    for face in FACES {
        let (outcome, ()) = accepting(face, &service(), |mut near| {
            send_record(&mut near, IN_PROGRESS, &negotiate());
            read_record(&mut near);
        });
        assert_eq!(fails(outcome).refusal.code(), code::CONNECTION_CUT);
        let (outcome, told) = accepting(face, &service(), |mut near| {
            send_record(&mut near, IN_PROGRESS, &negotiate());
            read_record(&mut near);
            send_record(&mut near, ERROR, &little_endian(0x8009_030E));
            read_rest(&mut near)
        });
        let refusal = fails(outcome).refusal;
        assert_eq!(refusal.code(), code::NNS_ERROR_RECEIVED);
        assert!(refusal.saw().contains("SEC_E_NO_CREDENTIALS"), "{refusal}");
        assert_eq!(told, b"");
    }
}

/// The client's tokens in SPNEGO, the second in a record of kind `last`: the service owes a MIC over the list of mechanisms.
#[test]
fn ntlm_in_spnego_is_accepted_with_a_mic_in_the_record_that_says_done() {
    for face in FACES {
        for last in [IN_PROGRESS, DONE] {
            let (session, (mut context, mut near)) = accepting(face, &service(), |mut near| {
                let (state, token) = offer(&initiator());
                send_record(&mut near, IN_PROGRESS, &token);
                let (kind, challenge) = read_record(&mut near);
                assert_eq!(kind, IN_PROGRESS);
                let (step, authenticate) = answer(state, &challenge);
                let InitiatorStep::AwaitReply(state) = step else { panic!("the MIC is owed") };
                send_record(&mut near, last, &authenticate);
                let (kind, accepted) = read_record(&mut near);
                assert_eq!(kind, DONE);
                assert!(accepted.len() > 16, "a MIC is in it");
                (done(answer(state, &accepted)), near)
            });
            talk(&mut succeeds(session), &mut context, &mut near);
        }
    }
}

/// A service with alice's account.
fn by_hand() -> pair::Service {
    let mut policy = AcceptorPolicy::default();
    policy.dangerous().allow_ntlm(NtlmService::default());
    let mut service = pair::Service::new(&mint(), policy);
    service.accounts.push(("alice".into(), "EXAMPLE".into(), nt_hash("secret")));
    service
}

/// Our client with a service that sends the CHALLENGE in a record of kind `challenged`.
fn client_after<T>(
    face: Face,
    challenged: u8,
    then: impl FnOnce(&mut UnixStream, pair::Service, countersign::proto::context::AwaitToken) -> T,
) -> (Result<Session<UnixStream>, Failure>, (T, UnixStream)) {
    connecting(face, &Client::new(NTLM.client_config()), |mut far| {
        let mut service = by_hand();
        let (kind, negotiate) = read_record(&mut far);
        assert_eq!(kind, IN_PROGRESS);
        let (state, challenge) = service.offer(&negotiate).again();
        send_record(&mut far, challenged, &challenge);
        (then(&mut far, service, state), far)
    })
}

#[test]
fn our_client_of_ntlm_is_done_with_the_services_mic() {
    for face in FACES {
        let (session, (mut context, mut far)) = client_after(face, IN_PROGRESS, |far, mut service, state| {
            let (kind, authenticate) = read_record(far);
            assert_eq!(kind, IN_PROGRESS, "it waits for the MIC over the list");
            let (context, last) = service.offer_to(state, &authenticate).accepted();
            send_record(far, DONE, &last);
            context
        });
        let mut session = succeeds(session);
        assert!(!session.facts().mutual());
        talk(&mut session, &mut context, &mut far);
    }
}

/// What an AUTHENTICATE is good for is not given to a service that has no use for it.
#[test]
fn a_service_that_says_done_with_its_challenge_gets_an_error_and_no_authenticate() {
    for face in FACES {
        let (outcome, (told, _)) = client_after(face, DONE, |far, _, _| read_rest(far));
        assert_eq!(fails(outcome).refusal.code(), code::TOKEN_UNEXPECTED);
        assert_eq!(told, record(ERROR, &big_endian(0x8009_0308)));
    }
}
