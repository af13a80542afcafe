//! `countersign serve`.

use super::framing::named;
use super::{EXIT_CODES, FramingArguments};
use crate::config::{FlagSetting, FlagValue, ListenAddress, Section};
use clap::Args;
use std::path::PathBuf;

/// Where nothing is said, neither here nor in the file nor in the environment: listen on 127.0.0.1:2000, with the keys of the
/// default keytab, and send every message back.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ServeArguments {
    /// Configuration file. Flags go before variables COUNTERSIGN_... of the environment, and these before the file; a flag of a
    /// listener needs a file with one listener at most
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    listener: ListenerArguments,
    #[command(flatten)]
    framing: FramingArguments,
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    dangerous: DangerousArguments,
    #[command(flatten)]
    process: ProcessArguments,
}

#[derive(Args)]
struct ListenerArguments {
    /// Address to listen on, 127.0.0.1:2000 if none is named; port 0 takes a free one, systemd:NAME a socket that systemd passes. May
    /// be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,
    /// Keytab with the service's keys; where none is named, KRB5_KTNAME, else /etc/krb5.keytab
    #[arg(long, value_name = "FILE")]
    keytab: Option<String>,
    /// Serve with the keys of the realm in this folder, and let clients that reach no KDC log in to it through this service:
    /// no keytab, no krb5.conf, no KDC port
    #[arg(long, value_name = "DIR", conflicts_with = "keytab")]
    realm: Option<String>,
    /// File with the realm's master key; without it master.key in the realm's folder
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,
    /// Let clients that reach no KDC log in to this realm through this service, which asks the KDCs of krb5.conf for them; may be
    /// given more than once, the service's own realm first
    #[arg(long, value_name = "REALM", conflicts_with = "realm")]
    relay_realm: Vec<String>,
    /// Bindings to the channel that clients come through: application data in hex, or cert:FILE with the certificate of
    /// the TLS server in front (tls-server-end-point). May be given more than once: clients are bound to any of them
    #[arg(long, value_name = "HEX|cert:FILE")]
    channel_bindings: Vec<String>,
    /// Refuse clients that are bound to no channel
    #[arg(long)]
    require_channel_bindings: bool,
    /// Service principal to accept, CLASS/HOST@REALM; may be given more than once. Without it, every one in the keytab
    #[arg(long, value_name = "PRINCIPAL")]
    accept_principal: Vec<String>,
    /// Client that may come in: NAME@REALM, *@REALM for a whole realm, by NTLM DOMAIN\user or DOMAIN\*; may be given more than once.
    /// Without it, with --upstream the service's own realm, else everybody who proves who they are
    #[arg(long, value_name = "CLIENT")]
    allow: Vec<String>,
    /// Etypes that are permitted, the preferred one first, with commas between. arcfour-hmac is weak, and off unless
    /// named here
    #[arg(long, value_name = "ETYPES", value_delimiter = ',')]
    permitted_enctypes: Vec<String>,
    /// How far a client's clock may be from ours, in seconds; 300 if nothing is said
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    clock_skew: Option<u64>,
    /// How long a whole handshake may take, in seconds; 10 if nothing is said
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    handshake_deadline: Option<u64>,
    /// Longest message that a client may send, in bytes of plaintext; 1048576 if nothing is said
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1_073_741_824))]
    max_message: Option<u32>,
    /// End sessions when the client's ticket ends
    #[arg(long)]
    sessions_end_with_ticket: bool,
}

#[derive(Args)]
struct TargetArguments {
    /// Send every message back as it came (this is also what is done where nothing is said)
    #[arg(long, conflicts_with = "upstream")]
    echo: bool,
    /// Send messages to the service there, and its answers back: HOST:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    upstream: Option<String>,
    /// How the upstream learns who the client is: none, proxy-v2 (PROXY protocol) or json (a line before everything else)
    #[arg(long, value_name = "FORM")]
    upstream_identity: Option<String>,
    /// How long connecting to the upstream may take, in seconds or with a unit; 10s if nothing is said
    #[arg(long, value_name = "DURATION")]
    upstream_connect_timeout: Option<String>,
    /// Take the end of a client's connection for the end of what it says, from clients that send no mark of it
    #[arg(long)]
    allow_unmarked_end: bool,
    /// End sessions that were silent in both directions for this long, in seconds or with a unit (30s, 5m, 10h)
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
}

#[derive(Args)]
struct DangerousArguments {
    /// DANGEROUS: accept NTLM, which never proves the service to the client; needs accounts
    #[arg(long)]
    allow_ntlm: bool,
    /// File of NTLM accounts, made by `countersign ntlm add`
    #[arg(long, value_name = "FILE", conflicts_with = "ntlm_winbind")]
    ntlm_accounts: Option<String>,
    /// Ask this machine's domain about NTLM accounts, by Samba's helper program of that name
    #[arg(long, value_name = "NTLM_AUTH", num_args = 0..=1, default_missing_value = "ntlm_auth")]
    ntlm_winbind: Option<String>,
    /// SPN by which NTLM clients must mean to reach this service, CLASS/HOST; may be given more than once. Without it nothing
    /// is asked, and logins can be relayed here
    #[arg(long, value_name = "SPN")]
    ntlm_spn: Vec<String>,
    /// DANGEROUS: let clients in that do not ask for the service's proof, and so cannot know whom they talk to
    #[arg(long)]
    allow_no_mutual: bool,
    /// DANGEROUS: do not check which realms a ticket came through
    #[arg(long)]
    ignore_transited: bool,
}

#[derive(Args)]
struct ProcessArguments {
    /// File that gets one JSON line for each handshake, and for each context in which a message was refused
    #[arg(long, value_name = "FILE")]
    audit: Option<String>,
    /// Folder for what must outlast the process, such as the replay store
    #[arg(long, value_name = "DIR")]
    state: Option<String>,
    /// Address for metrics and health checks by HTTP
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Where authenticators are remembered: file (below the folder of --state), memory or valkey
    #[arg(long, value_name = "STORE")]
    replay_store: Option<String>,
    /// How long sessions may go on after the program is told to end, in seconds or with a unit
    #[arg(long, value_name = "DURATION")]
    drain_deadline: Option<String>,
    /// Form of log lines: text or json
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
    /// The least that is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ServeArguments {
    /// What the flags set, in the words of the configuration file.
    pub(crate) fn settings(&self) -> Vec<FlagSetting> {
        let mut settings = Settings::default();
        settings.listener(&self.listener);
        settings.framing(&self.framing);
        settings.target(&self.target);
        settings.dangerous(&self.dangerous);
        settings.process(&self.process);
        settings.0
    }
}

#[derive(Default)]
struct Settings(Vec<FlagSetting>);

impl Settings {
    fn listener(&mut self, given: &ListenerArguments) {
        let listen: Vec<_> = given.listen.iter().map(ToString::to_string).collect();
        self.several("listen", "--listen", &listen);
        self.one("keytab", "--keytab", given.keytab.as_ref());
        self.one("realm", "--realm", given.realm.as_ref());
        self.one("master_key_file", "--master-key-file", given.master_key_file.as_ref());
        self.several("relay_realms", "--relay-realm", &given.relay_realm);
        self.several("channel_binding_values", "--channel-bindings", &given.channel_bindings);
        let required = given.require_channel_bindings.then_some("required");
        self.one("channel_bindings", "--require-channel-bindings", required);
        self.several("accept_principals", "--accept-principal", &given.accept_principal);
        self.several("allow", "--allow", &given.allow);
        self.several("permitted_enctypes", "--permitted-enctypes", &given.permitted_enctypes);
        self.one("clock_skew", "--clock-skew", given.clock_skew);
        self.one("handshake_deadline", "--handshake-deadline", given.handshake_deadline);
        self.one("max_message", "--max-message", given.max_message);
        self.yes("sessions_end_with_ticket", "--sessions-end-with-ticket", given.sessions_end_with_ticket);
    }

    fn framing(&mut self, given: &FramingArguments) {
        self.one("framing", "--framing", given.framing.map(named));
        self.one("nns_protection", "--nns-protection", given.nns_protection.map(named));
        self.one("nns_error_order", "--nns-error-order", given.nns_error_order.map(named));
        self.one("sample_data", "--sample-data", given.sample_data.map(named));
        self.yes("allow_unsealed", "--allow-unsealed", given.allow_unsealed);
    }

    fn target(&mut self, given: &TargetArguments) {
        self.yes("echo", "--echo", given.echo);
        self.one("upstream", "--upstream", given.upstream.as_ref());
        self.one("upstream_identity", "--upstream-identity", given.upstream_identity.as_ref());
        let timeout = given.upstream_connect_timeout.as_ref();
        self.one("upstream_connect_timeout", "--upstream-connect-timeout", timeout);
        self.yes("allow_unmarked_end", "--allow-unmarked-end", given.allow_unmarked_end);
        self.one("idle_timeout", "--idle-timeout", given.idle_timeout.as_ref());
    }

    fn dangerous(&mut self, given: &DangerousArguments) {
        self.yes("allow_ntlm", "--allow-ntlm", given.allow_ntlm);
        self.one("ntlm_accounts", "--ntlm-accounts", given.ntlm_accounts.as_ref());
        self.one("ntlm_winbind", "--ntlm-winbind", given.ntlm_winbind.as_ref());
        self.several("ntlm_spns", "--ntlm-spn", &given.ntlm_spn);
        self.yes("allow_no_mutual", "--allow-no-mutual", given.allow_no_mutual);
        self.yes("ignore_transited", "--ignore-transited", given.ignore_transited);
    }

    fn process(&mut self, given: &ProcessArguments) {
        for (section, key, flag, value) in [
            (Section::Audit, "file", "--audit", &given.audit),
            (Section::Top, "state", "--state", &given.state),
            (Section::Metrics, "listen", "--metrics", &given.metrics),
            (Section::Replay, "store", "--replay-store", &given.replay_store),
            (Section::Top, "drain_deadline", "--drain-deadline", &given.drain_deadline),
            (Section::Log, "format", "--log-format", &given.log_format),
            (Section::Log, "level", "--log-level", &given.log_level),
        ] {
            if let Some(value) = value {
                self.0.push(FlagSetting { section, key, flag, value: FlagValue::One(value.clone()) });
            }
        }
    }

    fn one(&mut self, key: &'static str, flag: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let value = FlagValue::One(value.to_string());
            self.0.push(FlagSetting { section: Section::Listener, key, flag, value });
        }
    }

    fn yes(&mut self, key: &'static str, flag: &'static str, given: bool) {
        self.one(key, flag, given.then_some(true));
    }

    fn several(&mut self, key: &'static str, flag: &'static str, values: &[String]) {
        if !values.is_empty() {
            let value = FlagValue::Several(values.to_vec());
            self.0.push(FlagSetting { section: Section::Listener, key, flag, value });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        serve: ServeArguments,
    }

    /// A value that clap takes for the flag; the configuration may refuse it.
    fn value(flag: &str) -> &'static str {
        match flag {
            "listen" => "127.0.0.1:0",
            "framing" => "nns",
            "nns-protection" => "sign",
            "nns-error-order" => "big-endian",
            "sample-data" => "signed",
            _ => "1",
        }
    }

    #[test]
    fn every_flag_sets_a_key_of_the_file() {
        let command = Program::command();
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(flags.len() > 30, "{flags:?}");
        for flag in flags.iter().filter(|flag| !["config", "help"].contains(flag)) {
            let long = format!("--{flag}");
            let takes_value = command
                .get_arguments()
                .any(|arg| arg.get_long() == Some(flag) && arg.get_action().takes_values());
            let mut line = vec!["serve", &long];
            line.extend(takes_value.then(|| value(flag)));
            let arguments =
                Program::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            let settings = arguments.serve.settings();
            assert_eq!(settings.len(), 1, "{flag}");
            for setting in settings {
                assert_eq!(setting.flag, long);
                assert!(setting.section.keys().contains(&setting.key), "{flag} sets {}", setting.key);
            }
        }
    }

    #[test]
    fn every_flag_is_on_the_page_about_the_configuration() {
        let page = include_str!("../../../../docs/configuration.md");
        for flag in Program::command().get_arguments().filter_map(clap::Arg::get_long) {
            assert!(
                flag == "help" || page.contains(&format!("--{flag}")),
                "docs/configuration.md lacks --{flag}"
            );
        }
    }

    #[test]
    fn no_flag_sets_nothing() {
        assert!(Program::try_parse_from(["serve"]).unwrap().serve.settings().is_empty());
    }
}
