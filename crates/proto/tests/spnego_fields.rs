//! Every field of every SPNEGO message left out, doubled or emptied, generated: an end refuses, or both agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::context::{Initiator, SecurityContext};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::ntlm::initiator::Credential;
use countersign_proto::ntlm::nt_hash;
use countersign_proto::policy::{AcceptorPolicy, InitiatorPolicy, NtlmService, TargetNames};
use countersign_testkit::TestRng;
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::{Pair, acceptor_policy, initiator_policy};

/// The fields of a message, and how to put the message together from others.
struct Taken {
    fields: Vec<Vec<u8>>,
    framed: bool,
    choice: u8,
}

impl Taken {
    fn apart(token: &[u8]) -> Self {
        let mut reader = Reader::new(token);
        let framed = reader.peek() == Some(0x60);
        if framed {
            reader = reader.element(0x60).unwrap();
            reader.element(0x06).unwrap();
        }
        let (choice, mut contents) = reader.any().unwrap();
        let mut fields = contents.element(0x30).unwrap();
        let mut taken = Vec::new();
        while !fields.is_empty() {
            let before = fields.rest();
            fields.any().unwrap();
            taken.push(before[..before.len() - fields.rest().len()].to_vec());
        }
        Self { fields: taken, framed, choice }
    }

    fn together(&self, fields: &[Vec<u8>]) -> Vec<u8> {
        let message = |writer: &mut Writer<'_>| {
            writer.constructed(self.choice, |choice| {
                choice.sequence(|sequence| fields.iter().for_each(|field| sequence.encoded(field)));
            });
        };
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        if self.framed {
            writer.constructed(0x60, |frame| {
                frame.primitive(0x06, &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x02]);
                message(frame);
            });
        } else {
            message(&mut writer);
        }
        out
    }
}

/// The message with each field left out, doubled in place, doubled at the end, and emptied; and with none at all.
fn variants(token: &[u8]) -> Vec<(String, Vec<u8>)> {
    let taken = Taken::apart(token);
    assert_eq!(taken.together(&taken.fields), token, "taken apart and put together it is the same");
    let mut variants = vec![("no field".to_owned(), taken.together(&[]))];
    for (index, field) in taken.fields.iter().enumerate() {
        let mut change = |what: &str, fields: Vec<Vec<u8>>| {
            variants.push((format!("field {:02x} {what}", field[0]), taken.together(&fields)));
        };
        let mut fields = taken.fields.clone();
        fields.remove(index);
        change("left out", fields);
        let mut fields = taken.fields.clone();
        fields.insert(index, field.clone());
        change("doubled", fields);
        let mut fields = taken.fields.clone();
        fields.push(field.clone());
        change("again at the end", fields);
        let mut fields = taken.fields.clone();
        fields[index] = vec![field[0], 0];
        change("empty", fields);
        if let (Some(&inner), true) = (field.get(2), field.len() > 4) {
            let mut fields = taken.fields.clone();
            fields[index] = vec![field[0], 2, inner, 0];
            change("with nothing in it", fields);
        }
    }
    variants
}

fn agree(initiator: &mut SecurityContext, acceptor: &mut SecurityContext) -> bool {
    let mut rng = TestRng::new(9);
    let mut there = Vec::new();
    initiator.sender().wrap(Confidentiality::Sealed, b"there", &mut rng, &mut there).unwrap();
    let mut back = Vec::new();
    acceptor.sender().wrap(Confidentiality::Sealed, b"back", &mut rng, &mut back).unwrap();
    acceptor.receiver().unwrap_in_place(&mut there).is_ok()
        && initiator.receiver().unwrap_in_place(&mut back).is_ok()
}

fn kerberos() -> Pair {
    Pair::new(&Mint::default(), initiator_policy(|policy| policy.negotiate = true), AcceptorPolicy::default())
}

fn ntlm() -> Pair {
    let service = NtlmService {
        names: TargetNames { netbios_computer: "SERVER".into(), ..TargetNames::default() },
        accepted_spns: Vec::new(),
    };
    let acceptor = acceptor_policy(|policy| {
        policy.dangerous().allow_ntlm(service);
    });
    let mut pair = Pair::new(&Mint::default(), InitiatorPolicy::default(), acceptor);
    pair.service.accounts.push(("bob".into(), "EXAMPLE".into(), nt_hash("secret")));
    let policy = initiator_policy(|policy| {
        policy.negotiate = true;
        policy.dangerous().allow_ntlm();
    });
    let credential = Credential { user: "bob".into(), domain: "EXAMPLE".into(), nt_hash: nt_hash("secret") };
    let service = Principal::parse("HTTP/a.example.test").unwrap();
    pair.initiator = Initiator::by_ntlm(service, credential, policy).unwrap();
    pair
}

fn every_variant_is_refused_or_agreed_on(pair: fn() -> Pair) {
    let messages = pair().meet().transcript;
    let mut agreed = 0;
    for (index, (_, token)) in messages.iter().enumerate() {
        let count = variants(token).len();
        for number in 0..count {
            let mut name = String::new();
            let meeting = pair().meet_altered(|delivery| {
                if delivery.index == index {
                    // Made anew: each handshake has tokens of its own.
                    let (what, token) = variants(&delivery.token.take().unwrap()).remove(number);
                    name = format!("message {index} with {what}");
                    delivery.token = Some(token);
                }
            });
            match (meeting.initiator, meeting.acceptor) {
                (Ok(mut initiator), Ok(mut acceptor)) => {
                    assert!(agree(&mut initiator, &mut acceptor), "{name}");
                    agreed += 1;
                }
                (Err(_), _) => {}
                (Ok(_), Err(_)) => panic!("{name}: the acceptor refused and the initiator did not see it"),
            }
        }
    }
    assert!(agreed > 0, "fields that may be left out are no reason to refuse");
}

#[test]
fn every_field_of_kerberos_in_spnego_left_out_or_doubled_is_refused_or_agreed_on() {
    every_variant_is_refused_or_agreed_on(kerberos);
}

#[test]
fn every_field_of_ntlm_in_spnego_left_out_or_doubled_is_refused_or_agreed_on() {
    every_variant_is_refused_or_agreed_on(ntlm);
}
