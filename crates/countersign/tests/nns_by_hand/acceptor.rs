//! Our acceptor with a client made by hand: which records it takes in which order, and what it says to the others.

use super::ends::{FACES, Face, SHORT, fails, succeeds};
use super::*;
use countersign::proto::error::{Code, code};
use std::net::Shutdown;

/// What `face` makes of these bytes, after which the client waits for the end.
fn after(face: Face, bytes: &[u8]) -> (Failure, Vec<u8>) {
    let (outcome, told) = accepting(face, &service(), |mut near| {
        near.write_all(bytes).unwrap();
        read_rest(&mut near)
    });
    (fails(outcome), told)
}

/// Both faces refuse these bytes with `code`, say `status` and nothing else.
#[track_caller]
fn refuses(bytes: &[u8], code: Code, status: u32) {
    for face in FACES {
        let (failure, told) = after(face, bytes);
        assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
        assert_eq!(told, record(ERROR, &big_endian(status)), "{}", failure.refusal);
    }
}

const INVALID_TOKEN: u32 = 0x8009_0308;

#[test]
fn a_kerberos_client_is_answered_with_done_and_the_ap_rep_and_may_talk_at_once() {
    for face in FACES {
        for negotiate in [false, true] {
            let initiator = initiator(|policy| policy.negotiate = negotiate);
            let service = service();
            let (session, (mut context, mut near)) = accepting(face, &service, |mut near| {
                let context = agree(&mut near, &initiator);
                (context, near)
            });
            let mut session = succeeds(session);
            assert!(!session.peer_confirmed());
            talk(&mut session, &mut context, &mut near);
            assert!(session.peer_confirmed());
            assert_eq!(session.facts().client(), "alice@EXAMPLE.TEST");
        }
    }
}

#[test]
fn data_behind_the_last_token_is_not_lost_however_the_bytes_come() {
    for face in FACES {
        for step in [1, 7, usize::MAX] {
            let (session, (mut context, mut near)) = accepting(face, &service(), |mut near| {
                let (state, token) = offer(&initiator(|_| ()));
                for piece in record(IN_PROGRESS, &token).chunks(step) {
                    near.write_all(piece).unwrap();
                }
                let (_, reply) = read_record(&mut near);
                let mut context = done(answer(state, &reply));
                let early = [sealed(&mut context, b"one"), sealed(&mut context, b"two")].concat();
                early.chunks(step).for_each(|piece| near.write_all(piece).unwrap());
                (context, near)
            });
            let mut session = succeeds(session);
            assert_eq!(session.receive().unwrap().unwrap(), b"one");
            assert_eq!(session.receive().unwrap().unwrap(), b"two");
            talk(&mut session, &mut context, &mut near);
        }
    }
}

#[test]
fn the_version_of_a_record_does_not_count() {
    for face in FACES {
        for version in [[0, 0], [1, 1], [2, 0], [0xFF, 0xFF]] {
            let (session, ()) = accepting(face, &service(), |mut near| {
                let (state, token) = offer(&initiator(|_| ()));
                let mut bytes = record(IN_PROGRESS, &token);
                bytes[1..3].copy_from_slice(&version);
                near.write_all(&bytes).unwrap();
                done(answer(state, &read_record(&mut near).1));
            });
            succeeds(session);
        }
    }
}

/// A client that says it is done with the token that completes it at our end, too, has said nothing wrong.
#[test]
fn a_last_token_may_come_in_a_record_that_says_done() {
    for face in FACES {
        let (session, (mut context, mut near)) = accepting(face, &service(), |mut near| {
            let (state, token) = offer(&initiator(|_| ()));
            send_record(&mut near, DONE, &token);
            let (kind, reply) = read_record(&mut near);
            assert_eq!(kind, DONE);
            (done(answer(state, &reply)), near)
        });
        talk(&mut succeeds(session), &mut context, &mut near);
    }
}

#[test]
fn a_record_of_a_kind_that_there_is_not_is_refused() {
    let (_, token) = offer(&initiator(|_| ()));
    for kind in [0x00, 0x13, 0x17, 0x60, 0xFF] {
        refuses(&record(kind, &token), code::NNS_RECORD_UNKNOWN, INVALID_TOKEN);
        refuses(&record(kind, b""), code::NNS_RECORD_UNKNOWN, INVALID_TOKEN);
    }
}

#[test]
fn the_reference_listings_frame_is_refused_as_no_record() {
    let (_, token) = offer(&initiator(|_| ()));
    let mut frame = ends::framed(&token);
    // As a record it would be longer than it is.
    frame.resize(70_000, 0);
    for face in FACES {
        let (outcome, told) = accepting(face, &service(), |mut near| {
            // It is refused before it is read to its end.
            let _ = near.write_all(&frame);
            read_record(&mut near)
        });
        let refusal = fails(outcome).refusal;
        assert_eq!(refusal.code(), code::NNS_RECORD_UNKNOWN, "{refusal}");
        assert_eq!(told, (ERROR, big_endian(INVALID_TOKEN).to_vec()));
    }
}

#[test]
fn a_record_in_progress_without_a_token_is_refused() {
    refuses(&record(IN_PROGRESS, b""), code::FRAME_EMPTY, INVALID_TOKEN);
}

#[test]
fn a_client_that_is_done_before_it_began_is_refused() {
    refuses(&record(DONE, b""), code::TOKEN_UNEXPECTED, INVALID_TOKEN);
}

#[test]
fn a_token_of_the_longest_record_is_looked_at() {
    refuses(&record(IN_PROGRESS, &[0x42; 65_535]), code::TOKEN_UNRECOGNISED, INVALID_TOKEN);
}

/// Whoever gave up listens to nothing any more, so nothing is said.
#[test]
fn an_error_of_the_client_in_any_form_ends_the_handshake_with_its_name_and_no_answer() {
    let denied = 0x8009_030C_u32;
    let named = "an error of the peer: SEC_E_LOGON_DENIED (0x8009030C): The logon was denied";
    let big = [[0xFF; 4], denied.to_be_bytes()].concat();
    let forms: [(&[u8], &str); 9] = [
        (&big_endian(denied), named),
        (&little_endian(denied), named),
        (&big, named),
        (&denied.to_be_bytes(), named),
        (&denied.to_le_bytes(), named),
        (&little_endian(0x6FE), "(0x000006FE): The trust between the ends failed"),
        (&big_endian(0x8009_9999), "an error of the peer: 0x80099999"),
        (b"", "an error of the peer: one that says nothing"),
        (&[1, 2, 3, 4, 5, 6, 7, 8], "an error of the peer: one that says nothing"),
    ];
    for face in FACES {
        for (payload, text) in forms {
            let (failure, told) = after(face, &record(ERROR, payload));
            assert_eq!(failure.refusal.code(), code::NNS_ERROR_RECEIVED);
            assert_eq!(failure.refusal.code().to_string(), "CS-8012");
            assert!(failure.refusal.saw().contains(text), "{}", failure.refusal);
            assert_eq!(told, b"", "{face:?}");
        }
    }
}

#[test]
fn a_client_that_closes_before_its_token_is_whole_is_told_nothing() {
    let (_, token) = offer(&initiator(|_| ()));
    let whole = record(IN_PROGRESS, &token);
    for face in FACES {
        for (length, text) in [
            (0, "the end of the connection"),
            (1, "after 1 bytes of a frame"),
            (4, "after 4 bytes of a frame"),
            (5, "after 5 bytes of a frame"),
            (whole.len() - 1, "of a frame"),
        ] {
            let (outcome, told) = accepting(face, &service(), |mut near| {
                near.write_all(&whole[..length]).unwrap();
                near.shutdown(Shutdown::Write).unwrap();
                read_rest(&mut near)
            });
            let refusal = fails(outcome).refusal;
            assert_eq!(refusal.code(), code::CONNECTION_CUT, "{length}: {refusal}");
            assert!(refusal.saw().contains(text), "{length}: {refusal}");
            assert_eq!(told, b"");
        }
    }
}

#[test]
fn a_silent_client_is_waited_for_no_longer_than_the_deadline() {
    let (_, token) = offer(&initiator(|_| ()));
    let whole = record(IN_PROGRESS, &token);
    for face in FACES {
        for length in [0, 3, 5, whole.len() - 1] {
            let service =
                Service::new(ServiceConfig { handshake_deadline: SHORT, ..service_config(SEALED, |_| ()) });
            let (outcome, told) = accepting(face, &service, |mut near| {
                near.write_all(&whole[..length]).unwrap();
                read_rest(&mut near)
            });
            assert_eq!(fails(outcome).refusal.code(), code::HANDSHAKE_DEADLINE);
            assert_eq!(told, b"");
        }
    }
}
