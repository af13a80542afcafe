//! .NET's NegotiateStream as two ends of it spoke with each other: our codec reads it and writes the same, our acceptor takes
//! the client's tokens and opens its data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod nns;

use countersign::framing::nns::{
    DATA_LIMIT, ErrorOrder, RECORD_LIMIT, RecordKind, decode_error, encode_error, record_header, record_kind,
};
use countersign::framing::{FrameReader, Header, dword};
use countersign_proto::context::{Acceptor, AcceptorStep, SecurityContext};
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::der::Reader;
use countersign_proto::error::SecurityStatus;
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::krb5::msg::ap_rep::{ApRep, EncApRepPart};
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::authenticator::Authenticator;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::ticket::EncTicketPart;
use countersign_proto::krb5::per_message::{Protection, Role, SequenceMode};
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::spnego::message::NegotiationToken;
use countersign_testkit::ScriptedRng;
use countersign_testkit::dotnet::Runtime;
use nns::capture::{Capture, End, WRITES, data};

/// Those in which both ends were content, by Kerberos.
fn kerberos() -> Vec<Capture> {
    let content = |capture: &Capture| capture.says(End::Client, "received 801");
    let kerberos = |capture: &Capture| {
        ["encrypt", "encrypt-for-sign", "encrypt-sha384", "sign"].contains(&capture.case())
    };
    let captures: Vec<_> = Capture::all().into_iter().filter(|it| content(it) && kerberos(it)).collect();
    assert_eq!(captures.len(), 7, "the older runtime's client refuses to sign alone");
    captures
}

#[test]
#[ignore = "makes the captures anew, which differ each time"]
fn captures_are_made() {
    nns::making::make();
}

/// What an end sent, cut by our reader.
#[derive(PartialEq, Eq, Debug)]
struct Sent {
    handshake: Vec<(RecordKind, Vec<u8>)>,
    data: Vec<Vec<u8>>,
}

impl Sent {
    /// The bytes come `step` at a time. A client's last token is answered by the server's last, so that it has sent as many as
    /// the server, `tokens`; whoever is done or gives up says so.
    fn read(stream: &[u8], step: usize, tokens: usize) -> Self {
        let mut sent = Self { handshake: Vec::new(), data: Vec::new() };
        let mut reader = FrameReader::new(Header::NnsRecord, RECORD_LIMIT);
        for piece in stream.chunks(step) {
            sent.take(&mut reader, piece, tokens);
        }
        assert_eq!(reader.is_ready(), Ok(false));
        sent
    }

    fn take(&mut self, reader: &mut FrameReader, mut piece: &[u8], tokens: usize) {
        while !piece.is_empty() {
            let space = reader.want();
            let count = piece.len().min(space.len());
            space[..count].copy_from_slice(&piece[..count]);
            piece = &piece[count..];
            reader.filled(count);
            while let Some(frame) = reader.next_frame().unwrap() {
                let body = frame.body.to_vec();
                if self.is_over(tokens) {
                    assert_eq!(frame.header, dword::header(body.len(), DATA_LIMIT).unwrap());
                    self.data.push(body);
                    continue;
                }
                let kind = record_kind(frame.header).unwrap();
                assert_eq!(frame.header, record_header(kind, body.len()).unwrap());
                self.handshake.push((kind, body));
                if self.is_over(tokens) {
                    reader.reframe(Header::Length, DATA_LIMIT);
                }
            }
        }
    }

    fn is_over(&self, tokens: usize) -> bool {
        let last = self.handshake.last().map(|(kind, _)| *kind);
        last.is_some_and(|kind| kind != RecordKind::InProgress) || self.handshake.len() == tokens
    }

    fn of(capture: &Capture, end: End) -> Self {
        let server = Self::read(&capture.stream(End::Server), usize::MAX, usize::MAX);
        match end {
            // One that gives up before it has a token gets no answer.
            End::Client => {
                Self::read(&capture.stream(End::Client), usize::MAX, server.handshake.len().max(1))
            }
            End::Server => server,
        }
    }

    fn kinds(&self) -> Vec<RecordKind> {
        self.handshake.iter().map(|(kind, _)| *kind).collect()
    }
}

/// All but the one whose data has no records.
fn framed() -> impl Iterator<Item = Capture> {
    Capture::all().into_iter().filter(|capture| capture.case() != "none")
}

#[test]
fn every_stream_is_cut_into_the_records_that_such_a_handshake_has() {
    use RecordKind::{Done, Error, InProgress};
    for capture in framed() {
        let (client, server) = (Sent::of(&capture, End::Client), Sent::of(&capture, End::Server));
        let (of_client, of_server) = match capture.case() {
            "encrypt" | "encrypt-for-sign" | "encrypt-sha384" | "sign" => (vec![InProgress], vec![Done]),
            // The newer one throws at the wrong place, and closes.
            "no-keytab" if capture.runtime == Runtime::Net8 => (vec![InProgress], vec![]),
            "other-keytab" | "no-keytab" => (vec![InProgress], vec![Error]),
            "unknown-service" | "no-ticket" => (vec![Error], vec![]),
            "ntlm-encrypt" | "ntlm-sign" => (vec![InProgress; 2], vec![InProgress, Done]),
            "ntlm-sign-for-encrypt" | "ntlm-wrong-password" => (vec![InProgress; 2], vec![InProgress, Error]),
            "none-for-encrypt" => (vec![InProgress, Done], vec![InProgress, Error]),
            name => panic!("{name}: what should it have?"),
        };
        assert_eq!((client.kinds(), server.kinds()), (of_client, of_server), "{}", capture.name);
        let records = if capture.says(End::Client, "received 801") { WRITES.len() } else { 0 };
        assert_eq!((client.data.len(), server.data.len()), (records, records), "{}", capture.name);
    }
}

#[test]
fn a_stream_that_comes_in_pieces_is_cut_into_the_same_records() {
    for capture in framed() {
        let whole = Sent::of(&capture, End::Client);
        for step in [1, 2, 5, 97] {
            let pieces = Sent::read(&capture.stream(End::Client), step, whole.handshake.len());
            assert_eq!(pieces, whole, "{} by {step}", capture.name);
        }
    }
}

#[test]
fn every_error_is_understood_as_its_peer_understood_it_and_written_in_the_same_bytes() {
    let mut found = 0;
    for capture in framed() {
        for (end, peer) in [(End::Client, End::Server), (End::Server, End::Client)] {
            let sent = Sent::of(&capture, end);
            let Some((_, payload)) = sent.handshake.iter().find(|(kind, _)| *kind == RecordKind::Error)
            else {
                continue;
            };
            found += 1;
            let (order, general, no_credential) = match capture.runtime {
                Runtime::Core31 => (ErrorOrder::BigEndian, 0x8000_4005, 0x8000_4005),
                Runtime::Net8 => (ErrorOrder::LittleEndian, 0x8009_0304, 0x8009_030D),
            };
            let expected = SecurityStatus(match capture.case() {
                "ntlm-sign-for-encrypt" | "none-for-encrypt" => 0x6FE,
                "no-ticket" => no_credential,
                _ => general,
            });
            assert_eq!(decode_error(payload), Some(expected), "{}", capture.name);
            assert_eq!(encode_error(expected, order)[..], payload[..], "{}", capture.name);
            let line = format!("native error {} ({:#x})", expected.0.cast_signed(), expected.0);
            assert!(capture.says(peer, &line), "{}: {:?}", capture.name, capture.told(peer));
        }
    }
    assert_eq!(found, 13);
}

#[test]
fn protection_level_none_leaves_the_data_bare_on_the_wire() {
    for capture in Capture::named("none") {
        for end in [End::Client, End::Server] {
            assert!(capture.stream(end).ends_with(&data()));
            assert!(capture.says(end, "signed false"));
        }
    }
}

#[test]
fn ntlm_that_only_signs_leaves_the_data_readable_where_it_is_not_sealed_all_the_same() {
    for capture in Capture::named("ntlm-sign") {
        let readable = Sent::of(&capture, End::Client).data.iter().all(|record| {
            // The first 16 bytes are the signature.
            let size = record.len() - 16;
            let start: usize = WRITES.iter().take_while(|write| **write != size).sum();
            record[16..] == data()[start..start + size]
        });
        assert_eq!(readable, capture.runtime == Runtime::Net8, "{}", capture.name);
    }
}

#[test]
fn our_acceptor_takes_the_clients_token_and_opens_its_data() {
    for capture in kerberos() {
        let name = &capture.name;
        let client = Sent::of(&capture, End::Client);
        let mut context = accept(&capture, &client);
        assert!(context.negotiated() && context.facts().mutual(), "{name}");
        assert_eq!(context.facts().client(), "alice@CAPTURE.TEST");
        assert!(capture.says(End::Server, "remote alice@CAPTURE.TEST"));
        let mut opened = Vec::new();
        for (record, size) in client.data.iter().zip(WRITES) {
            let mut record = record.clone();
            let unwrapped = context.receiver().unwrap_in_place(&mut record).unwrap();
            assert_eq!(unwrapped.plaintext.len(), size, "{name}");
            opened.extend_from_slice(unwrapped.plaintext);
        }
        assert_eq!(opened, data(), "{name}");
    }
}

#[test]
fn a_record_that_was_changed_anywhere_is_not_opened() {
    let capture = Capture::named("encrypt").remove(0);
    let client = Sent::of(&capture, End::Client);
    for at in 0..client.data[0].len() {
        let mut context = accept(&capture, &client);
        let mut record = client.data[0].clone();
        record[at] ^= 1;
        assert!(context.receiver().unwrap_in_place(&mut record).is_err(), "byte {at}");
    }
}

#[test]
fn a_record_that_comes_too_early_or_twice_is_not_opened() {
    let capture = Capture::named("encrypt").remove(0);
    let client = Sent::of(&capture, End::Client);
    let mut context = accept(&capture, &client);
    assert!(context.receiver().unwrap_in_place(&mut client.data[1].clone()).is_err());
    let mut context = accept(&capture, &client);
    assert!(context.receiver().unwrap_in_place(&mut client.data[0].clone()).is_ok());
    assert!(context.receiver().unwrap_in_place(&mut client.data[0].clone()).is_err());
}

#[test]
fn the_servers_data_is_opened_by_who_has_its_subkey() {
    for capture in kerberos() {
        let name = &capture.name;
        let (client, server) = (Sent::of(&capture, End::Client), Sent::of(&capture, End::Server));
        let agreed = Agreed::of(&capture, &client, &server);
        let protection = Protection {
            role: Role::Initiator,
            key: agreed.subkey,
            acceptor_subkey: true,
            send_seq: agreed.client_seq.into(),
            receive_seq: agreed.server_seq.into(),
        };
        let (_, mut receiver) = protection.split(true, SequenceMode::Strict);
        let mut opened = Vec::new();
        for record in &server.data {
            let mut record = record.clone();
            opened.extend_from_slice(receiver.unwrap_in_place(&mut record).unwrap().plaintext);
        }
        assert_eq!(opened, data(), "{name}");
    }
}

/// Our acceptor's context, with the subkey that the recorded server chose.
fn accept(capture: &Capture, client: &Sent) -> SecurityContext {
    let agreed = Agreed::of(capture, client, &Sent::of(capture, End::Server));
    // The subkey, the first number, of which two bits are dropped, and a confounder.
    let draws = [agreed.subkey.expose(), &(agreed.server_seq << 2).to_le_bytes(), &[0; 16]].concat();
    let (mut rng, now) = (ScriptedRng::new(draws), capture.clock());
    let mut out = Vec::new();
    let acceptor = Acceptor::new(capture.service_keys(), AcceptorPolicy::default());
    let mut step = acceptor.begin().token(&client.handshake[0].1, now, &mut rng, &mut out);
    loop {
        step = match step {
            AcceptorStep::CheckReplay(state) => state.verdict(ReplayVerdict::Fresh, now, &mut out),
            AcceptorStep::Authorize(state) => state.admit(now, &mut rng, &mut out),
            AcceptorStep::Done(context) => return *context,
            AcceptorStep::Rejected(rejected) => panic!("{}: {}", capture.name, rejected.refusal),
            _ => panic!("{}: more is asked than a token", capture.name),
        };
    }
}

/// What the recorded ends agreed on, by the keys of the service.
struct Agreed {
    subkey: Key,
    client_seq: u32,
    server_seq: u32,
}

impl Agreed {
    fn of(capture: &Capture, client: &Sent, server: &Sent) -> Self {
        let token = mech_token(&client.handshake[0].1, TokenId::ApReq);
        let request = ApReq::parse(&token).unwrap();
        let keytab = capture.keytab();
        let entry = &keytab.entries[0];
        let service_key = Key::new(Etype::from_wire(entry.etype).unwrap(), entry.key.expose()).unwrap();
        let ticket = opened(&service_key, KeyUsage::TICKET, &request.ticket.enc_part);
        let session_key = key(EncTicketPart::parse(Reader::new(&ticket)).unwrap().key);
        let authenticator = opened(&session_key, KeyUsage::AP_REQ_AUTHENTICATOR, &request.authenticator);
        let authenticator = Authenticator::parse(Reader::new(&authenticator)).unwrap();
        let token = mech_token(&server.handshake[0].1, TokenId::ApRep);
        let reply = opened(&session_key, KeyUsage::AP_REP, &ApRep::parse(&token).unwrap().enc_part);
        let reply = EncApRepPart::parse(Reader::new(&reply)).unwrap();
        Self {
            subkey: key(reply.subkey.unwrap()),
            client_seq: authenticator.seq_number.unwrap(),
            server_seq: reply.seq_number.unwrap(),
        }
    }
}

/// The Kerberos message in a token of SPNEGO.
fn mech_token(token: &[u8], expected: TokenId) -> Vec<u8> {
    let mech_token = match NegotiationToken::parse(token).unwrap() {
        NegotiationToken::Init(init) => init.mech_token,
        NegotiationToken::Resp(resp) => resp.response_token,
    };
    let (token_id, body) = framing::open(mech_token.unwrap()).unwrap();
    assert_eq!(token_id, expected);
    body.to_vec()
}

fn opened(key: &Key, usage: KeyUsage, data: &EncryptedData<'_>) -> Vec<u8> {
    key.cipher(usage).open_in_place(&mut data.cipher.to_vec()).unwrap().to_vec()
}

fn key(key: EncryptionKeyRef<'_>) -> Key {
    Key::new(Etype::from_wire(key.etype).unwrap(), key.bytes).unwrap()
}
