//! Our initiator with a service made by hand: which records it takes in which order, and what it makes of errors.

use super::ends::{FACES, Face, fails, succeeds};
use super::*;
use countersign::proto::context::Initiator;
use countersign::proto::error::{Code, code};
use countersign_testkit::mint::Ticket;
use std::net::Shutdown;

const INVALID_TOKEN: u32 = 0x8009_0308;
const UNPROVED: &str = " before HTTP/a.example.test@EXAMPLE.TEST proved itself";

/// What our client makes of a service that takes its token and does `by_hand`, and all that it says to that.
fn after(face: Face, by_hand: impl FnOnce(&mut UnixStream)) -> (Failure, Vec<u8>) {
    let (outcome, told) = connecting(face, &client(), |mut far| {
        by_hand(&mut far);
        read_rest(&mut far)
    });
    (fails(outcome), told)
}

/// The same for a service that answers the client's token with these bytes.
fn after_bytes(face: Face, bytes: &[u8]) -> (Failure, Vec<u8>) {
    after(face, |far| {
        read_record(far);
        far.write_all(bytes).unwrap();
    })
}

#[track_caller]
fn refuses(bytes: &[u8], code: Code, status: u32) {
    for face in FACES {
        let (failure, told) = after_bytes(face, bytes);
        assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
        assert!(failure.refusal.saw().ends_with(UNPROVED), "{}", failure.refusal);
        assert_eq!(told, record(ERROR, &big_endian(status)), "{}", failure.refusal);
    }
}

#[test]
fn a_client_that_is_done_when_its_service_is_says_nothing_but_data() {
    for face in FACES {
        for negotiate in [false, true] {
            let client = client_of(SEALED, initiator(|policy| policy.negotiate = negotiate));
            let (session, (mut context, mut far)) = connecting(face, &client, |mut far| {
                let (context, reply) = prove(&mut far);
                send_record(&mut far, DONE, &reply);
                (context, far)
            });
            let mut session = succeeds(session);
            // The first bytes after the client's token are those of a data record.
            session.send(b"first").unwrap();
            assert_eq!(opened(&mut context, &mut far), b"first");
            talk(&mut session, &mut context, &mut far);
        }
    }
}

#[test]
fn a_service_that_only_then_says_it_is_done_is_waited_for_and_what_it_says_with_it_is_ignored() {
    for face in FACES {
        for late in [&b""[..], b"anything", &[0; 65_535]] {
            let (session, (mut context, mut far)) = connecting(face, &client(), |mut far| {
                let (context, reply) = prove(&mut far);
                send_record(&mut far, IN_PROGRESS, &reply);
                assert_eq!(read_record(&mut far), (DONE, Vec::new()), "the client says it is done");
                send_record(&mut far, DONE, late);
                (context, far)
            });
            talk(&mut succeeds(session), &mut context, &mut far);
        }
    }
}

#[test]
fn data_behind_the_record_that_says_done_is_not_lost() {
    for face in FACES {
        let (session, far) = connecting(face, &client(), |mut far| {
            let (mut context, reply) = prove(&mut far);
            let bytes = [record(DONE, &reply), sealed(&mut context, b"welcome")].concat();
            bytes.chunks(11).for_each(|piece| far.write_all(piece).unwrap());
            far
        });
        assert_eq!(succeeds(session).receive().unwrap().unwrap(), b"welcome");
        drop(far);
    }
}

#[test]
fn the_version_of_a_record_does_not_count() {
    for face in FACES {
        let (session, _) = connecting(face, &client(), |mut far| {
            let (context, reply) = prove(&mut far);
            let mut bytes = record(DONE, &reply);
            bytes[1..3].copy_from_slice(&[9, 9]);
            far.write_all(&bytes).unwrap();
            (context, far)
        });
        succeeds(session);
    }
}

#[test]
fn a_service_that_is_done_before_it_proved_itself_is_refused() {
    refuses(&record(DONE, b""), code::TOKEN_UNEXPECTED, INVALID_TOKEN);
}

#[test]
fn records_that_there_are_not_and_empty_ones_are_refused() {
    for kind in [0x00, 0x13, 0x17, 0x60] {
        refuses(&record(kind, b"x"), code::NNS_RECORD_UNKNOWN, INVALID_TOKEN);
    }
    refuses(&record(IN_PROGRESS, b""), code::FRAME_EMPTY, INVALID_TOKEN);
    refuses(b"HTTP/1.1 400 Bad Request", code::NNS_RECORD_UNKNOWN, INVALID_TOKEN);
}

#[test]
fn a_service_without_the_key_is_told_that_it_did_not_prove_itself() {
    for face in FACES {
        for kind in [IN_PROGRESS, DONE] {
            let (failure, told) = after(face, |far| {
                let mut request = mint().ap_req();
                read_record(far);
                // An AP-REP by somebody who has another key.
                request.ticket.session_key = mint().service_key();
                send_record(far, kind, &mint().ap_rep(&request).token());
            });
            assert_eq!(failure.refusal.code(), code::AP_REP_INTEGRITY, "{}", failure.refusal);
            assert_eq!(told, record(ERROR, &big_endian(0x8009_0363)));
        }
    }
}

#[test]
fn a_service_that_goes_on_after_both_are_done_is_refused() {
    for face in FACES {
        let (failure, told) = after(face, |far| {
            let (_, reply) = prove(far);
            send_record(far, IN_PROGRESS, &reply);
            assert_eq!(read_record(far), (DONE, Vec::new()));
            send_record(far, IN_PROGRESS, b"more");
        });
        assert_eq!(failure.refusal.code(), code::TOKEN_UNEXPECTED, "{}", failure.refusal);
        assert_eq!(failure.facts.unwrap().service().unwrap(), "HTTP/a.example.test@EXAMPLE.TEST");
        assert_eq!(told, record(ERROR, &big_endian(INVALID_TOKEN)));
    }
}

#[test]
fn an_error_is_reported_by_its_name_and_as_what_ended_the_handshake_before_the_proof() {
    let named =
        "an error of the peer: SEC_E_WRONG_PRINCIPAL (0x80090322): The ticket is for another principal";
    for face in FACES {
        for payload in [big_endian(0x8009_0322), little_endian(0x8009_0322)] {
            let (failure, told) = after_bytes(face, &record(ERROR, &payload));
            assert_eq!(failure.refusal.code().to_string(), "CS-8012");
            assert_eq!(failure.refusal.saw(), format!("{named}{UNPROVED}"));
            let claimed = failure.claimed_service.as_deref();
            assert_eq!(claimed, Some("HTTP/a.example.test@EXAMPLE.TEST"));
            assert_eq!(told, b"", "whoever gave up listens to nothing any more");
        }
    }
}

#[test]
fn an_error_after_the_proof_is_reported_by_its_name_too() {
    for face in FACES {
        let (failure, told) = after(face, |far| {
            let (_, reply) = prove(far);
            send_record(far, IN_PROGRESS, &reply);
            assert_eq!(read_record(far), (DONE, Vec::new()));
            send_record(far, ERROR, &big_endian(0x6FE));
        });
        assert_eq!(failure.refusal.code(), code::NNS_ERROR_RECEIVED);
        assert!(failure.refusal.saw().contains("0x000006FE"), "{}", failure.refusal);
        assert!(failure.facts.is_some(), "the service had proved itself");
        assert_eq!(told, b"");
    }
}

#[test]
fn a_service_that_closes_is_said_to_have_closed_wherever_it_did() {
    let reply = record(DONE, &[7; 40]);
    for face in FACES {
        for (bytes, code) in [
            (&[][..], code::SERVICE_NEVER_PROVED),
            (&reply[..3], code::CONNECTION_CUT),
            (&reply[..5], code::CONNECTION_CUT),
            (&reply[..44], code::CONNECTION_CUT),
        ] {
            let (failure, told) = after(face, |far| {
                read_record(far);
                far.write_all(bytes).unwrap();
                far.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
            assert!(failure.refusal.saw().ends_with(UNPROVED) || bytes.is_empty(), "{}", failure.refusal);
            assert_eq!(told, b"");
        }
        for bytes in [&[][..], &reply[..3], &reply[..44]] {
            let (failure, told) = after(face, |far| {
                let (_, proof) = prove(far);
                send_record(far, IN_PROGRESS, &proof);
                far.write_all(bytes).unwrap();
                far.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(failure.refusal.code(), code::CONNECTION_CUT, "{}", failure.refusal);
            assert!(failure.facts.is_some(), "the service had proved itself");
            assert_eq!(told, record(DONE, b""));
        }
    }
}

/// A record's length is a number of two bytes, so the longest token is one byte shorter than in the other framings.
#[test]
fn a_token_that_does_not_fit_into_a_record_is_our_own_fault_and_one_that_nearly_fills_it_is_sent() {
    let mint = mint();
    let with = |padding: usize| {
        let ticket = Ticket { transited: vec![b'X'; padding], ..mint.ticket() };
        let cache = mint.ccache(&[ticket]);
        Initiator::from_ccache(&cache, &mint.service, InitiatorPolicy::default(), mint.now).unwrap()
    };
    // Numbers in an AP-REQ (microseconds, the sequence number) have lengths of their own in each one.
    let play = 12;
    let fits = 60_000 + (65_535 - offer(&with(60_000)).1.len()) - play;
    for face in FACES {
        let (_, (kind, token)) =
            connecting(face, &client_of(SEALED, with(fits)), |mut far| read_record(&mut far));
        assert_eq!(kind, IN_PROGRESS);
        assert!((65_535 - 2 * play..=65_535).contains(&token.len()), "{}", token.len());
        let client = client_of(SEALED, with(fits + 2 * play));
        let (outcome, told) = connecting(face, &client, |mut far| read_rest(&mut far));
        let refusal = fails(outcome).refusal;
        assert_eq!(refusal.code(), code::MESSAGE_TOO_LONG, "{refusal}");
        assert!(refusal.saw().contains("a token of our own of 655"), "{refusal}");
        assert_eq!(told, b"");
    }
}
