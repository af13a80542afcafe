//! What an NNS client is told when our acceptor refuses it: one error record with the status that Windows has for it, in the order
//! that the listener is configured to write.

use super::ends::{FACES, fails, succeeds};
use super::*;
use countersign::Refusal;
use countersign::proto::error::{Code, code};
use countersign::proto::gss::{BindingsHash, ChannelBindings, GssFlags};
use countersign::proto::krb5::msg::ap_req::ApOptions;
use countersign::proto::krb5::msg::principal::Principal;
use countersign_testkit::mint::{ApReq, FLAGS, gss_checksum};
use countersign_testkit::pair::told;
use std::time::Duration;

/// The service refuses the client that sends `request`, and says `status` in the bytes of either generation.
#[track_caller]
fn refuses(service: impl Fn(Nns) -> ServiceConfig, request: &ApReq, code: Code, status: u32) {
    for face in FACES {
        for (error_order, payload) in
            [(ErrorOrder::BigEndian, big_endian(status)), (ErrorOrder::LittleEndian, little_endian(status))]
        {
            let service = Service::new(service(Nns { error_order, ..SEALED }));
            let (outcome, told) = accepting(face, &service, |mut near| {
                send_record(&mut near, IN_PROGRESS, &request.token());
                read_rest(&mut near)
            });
            let failure = fails(outcome);
            assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
            assert_eq!(told, record(ERROR, &payload), "{}", failure.refusal);
            let claimed = request.ticket.service.to_string();
            assert_eq!(failure.claimed_service, Some(claimed), "it is known whom the client asked for");
        }
    }
}

fn plain(nns: Nns) -> ServiceConfig {
    service_config(nns, |_| ())
}

fn asking_for(flags: GssFlags) -> ApReq {
    let mut request = mint().ap_req();
    request.authenticator.checksum = Some(gss_checksum(BindingsHash::NONE, flags));
    request
}

#[test]
fn a_ticket_under_another_key() {
    let mint = mint();
    let mut request = mint.ap_req();
    request.ticket.key = mint.key(&mint.client, 2, mint.ticket_etype);
    refuses(plain, &request, code::TICKET_INTEGRITY, 0x8009_030C);
    refuses(plain, &Mint { kvno: 9, ..mint.clone() }.ap_req(), code::KVNO_ABSENT, 0x8009_0348);
    let service = Principal::new("EXAMPLE.TEST", &["HTTP", "b.example.test"]);
    refuses(plain, &Mint { service, ..mint }.ap_req(), code::SERVICE_KEY_ABSENT, 0x8009_0322);
}

#[test]
fn a_ticket_that_has_ended() {
    let mint = mint();
    let mut request = mint.ap_req();
    request.ticket.endtime = mint.now.saturating_sub(Duration::from_secs(600));
    refuses(plain, &request, code::TICKET_EXPIRED, 0x8009_0317);
}

#[test]
fn a_channel_that_is_demanded_and_not_bound_to() {
    let bound = |nns| {
        service_config(nns, |policy| {
            policy.channel_bindings = vec![ChannelBindings::from_application_data(b"channel".to_vec())];
            policy.require_channel_bindings = true;
        })
    };
    refuses(bound, &mint().ap_req(), code::CHANNEL_BINDINGS_MISSING, 0x8009_0346);
}

#[test]
fn a_client_that_does_not_ask_for_mutual_authentication() {
    let mut request = asking_for(GssFlags(FLAGS.0 & !GssFlags::MUTUAL.0));
    request.ap_options = ApOptions::default();
    refuses(plain, &request, code::MUTUAL_NOT_REQUESTED, 0x8009_0332);
}

#[test]
fn a_client_that_asks_for_less_protection() {
    for flags in [FLAGS.0 & !GssFlags::CONF.0, GssFlags::MUTUAL.0] {
        refuses(plain, &asking_for(GssFlags(flags)), code::PROTECTION_TOO_LOW, 0x6FE);
    }
    // That Sign will do is not enough: the policy must say that its messages may be read.
    let halfway = |nns: Nns| service_config(Nns { protection: Protection::Sign, ..nns }, |_| ());
    let signed = asking_for(GssFlags(FLAGS.0 & !GssFlags::CONF.0));
    refuses(halfway, &signed, code::PROTECTION_TOO_LOW, 0x6FE);
    let signs = |nns: Nns| {
        service_config(Nns { protection: Protection::Sign, ..nns }, |policy| {
            policy.dangerous().allow_unsealed();
        })
    };
    refuses(signs, &asking_for(GssFlags::MUTUAL), code::PROTECTION_TOO_LOW, 0x6FE);
}

#[test]
fn a_client_that_is_not_welcome() {
    let closed = |nns| ServiceConfig {
        authorize: Box::new(|_| Err(Refusal::new(code::CLIENT_NOT_ALLOWED, "alice", "a list without her"))),
        ..plain(nns)
    };
    refuses(closed, &mint().ap_req(), code::CLIENT_NOT_ALLOWED, 0x8009_030C);
}

#[test]
fn a_refused_client_that_proved_itself_is_known() {
    let closed = ServiceConfig {
        authorize: Box::new(|_| Err(Refusal::new(code::CLIENT_NOT_ALLOWED, "alice", "a list without her"))),
        ..plain(SEALED)
    };
    let closed = Service::new(closed);
    for face in FACES {
        let request = mint().ap_req();
        let (outcome, _) = accepting(face, &closed, |mut near| {
            send_record(&mut near, IN_PROGRESS, &request.token());
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).facts.unwrap().client(), "alice@EXAMPLE.TEST");
    }
}

#[test]
fn a_replay() {
    for face in FACES {
        let (service, token) = (service(), mint().ap_req().token());
        let (accepted, reply) = accepting(face, &service, |mut near| {
            send_record(&mut near, IN_PROGRESS, &token);
            read_record(&mut near).0
        });
        drop(succeeds(accepted));
        assert_eq!(reply, DONE);
        let (outcome, told) = accepting(face, &service, |mut near| {
            send_record(&mut near, IN_PROGRESS, &token);
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).refusal.code(), code::REPLAY);
        assert_eq!(told, record(ERROR, &big_endian(0x8009_030C)));
    }
}

fn from_another_time(later: i64) -> ApReq {
    let mut request = mint().ap_req();
    request.authenticator.ctime = now().shifted(later);
    request
}

const TEN_MINUTES: i64 = 600_000_000;

/// A skew may be mended once on the connection (DESIGN rule 2), so it is told in a token first, and by an error the second time.
#[test]
fn a_clock_that_is_wrong_is_told_by_kerberos_first_and_by_nns_when_it_is_wrong_again() {
    for face in FACES {
        let (outcome, said) = accepting(face, &service(), |mut near| {
            send_record(&mut near, IN_PROGRESS, &from_another_time(TEN_MINUTES).token());
            let (kind, token) = read_record(&mut near);
            assert_eq!(kind, IN_PROGRESS);
            assert_eq!(Some(told(&token).error_code), code::CLOCK_SKEW.krb_error());
            send_record(&mut near, IN_PROGRESS, &from_another_time(-TEN_MINUTES).token());
            read_rest(&mut near)
        });
        assert_eq!(fails(outcome).refusal.code(), code::CLOCK_SKEW);
        assert_eq!(said, record(ERROR, &big_endian(0x8009_0324)));
    }
}

#[test]
fn a_clock_that_was_mended_is_good() {
    for face in FACES {
        let (outcome, kind) = accepting(face, &service(), |mut near| {
            send_record(&mut near, IN_PROGRESS, &from_another_time(TEN_MINUTES).token());
            read_record(&mut near);
            send_record(&mut near, IN_PROGRESS, &mint().ap_req().token());
            read_record(&mut near).0
        });
        succeeds(outcome);
        assert_eq!(kind, DONE);
    }
}

/// .NET's client cannot make another token of a KRB-ERROR, and gives up with an error of its own.
#[test]
fn a_client_that_gives_up_over_its_wrong_clock_is_said_to_have_had_one() {
    for face in FACES {
        for last in [Vec::new(), record(ERROR, &little_endian(0x8009_0304))] {
            let (outcome, told) = accepting(face, &service(), |mut near| {
                send_record(&mut near, IN_PROGRESS, &from_another_time(TEN_MINUTES).token());
                read_record(&mut near);
                near.write_all(&last).unwrap();
                near.shutdown(std::net::Shutdown::Write).unwrap();
                read_rest(&mut near)
            });
            assert_eq!(fails(outcome).refusal.code(), code::CLOCK_SKEW);
            assert_eq!(told, b"");
        }
    }
}
