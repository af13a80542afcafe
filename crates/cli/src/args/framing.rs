//! How tokens and messages are put on the socket: the same flags for both ends.

use crate::sources;
use clap::{Args, ValueEnum};
use countersign::framing::nns::{ErrorOrder, Protection};
use countersign::framing::{self, Nns, SampleData};
use countersign::proto::error::Refusal;

#[derive(Args)]
pub(crate) struct FramingArguments {
    /// How tokens and messages are framed; dword if nothing is said
    #[arg(long, value_enum)]
    pub(crate) framing: Option<Framing>,
    /// With nns: what messages must have at least. `sign` lets anybody read them, and needs --allow-unsealed
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) nns_protection: Option<NnsProtection>,
    /// With nns: the byte order of errors that are sent; .NET 8 and later read little-endian, those before big-endian
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) nns_error_order: Option<NnsErrorOrder>,
    /// With sample: what a message is. `signed` lets anybody read it, and needs --allow-unsealed
    #[arg(long, value_enum, value_name = "DATA")]
    pub(crate) sample_data: Option<SampleDataName>,
    /// DANGEROUS: take messages that are signed but not sealed: anybody on the way can read them
    #[arg(long)]
    pub(crate) allow_unsealed: bool,
}

/// The framings by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// 4 bytes little-endian length, then the bytes
    Dword,
    /// .NET's NegotiateStream (MS-NNS)
    Nns,
    /// The handshake as with dword, then one message each way as Windows' SDK sample lays it out
    Sample,
}

/// The word that stands for `value` on the command line, which is also that of the configuration file.
pub(super) fn named(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NnsProtection {
    EncryptAndSign,
    Sign,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NnsErrorOrder {
    BigEndian,
    LittleEndian,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SampleDataName {
    Sealed,
    Signed,
}

impl FramingArguments {
    /// The framing that these flags mean.
    pub(crate) fn framing(&self) -> Result<framing::Framing, Refusal> {
        let named = self.framing.unwrap_or(Framing::Dword);
        let (nns, sample) = (named == Framing::Nns, named == Framing::Sample);
        for (flag, given, of_use) in [
            ("--nns-protection", self.nns_protection.is_some(), nns),
            ("--nns-error-order", self.nns_error_order.is_some(), nns),
            ("--sample-data", self.sample_data.is_some(), sample),
        ] {
            if given && !of_use {
                return Err(sources::usage(flag.to_owned(), "another framing, for which it means nothing"));
            }
        }
        if self.leaves_readable() && !self.allow_unsealed {
            return Err(sources::usage(
                "messages that are signed only".to_owned(),
                "a demand that they are sealed; --allow-unsealed gives it up",
            ));
        }
        Ok(match named {
            Framing::Dword => framing::Framing::Dword,
            Framing::Nns => framing::Framing::Nns(Nns {
                protection: self.nns_protection.map(Into::into).unwrap_or_default(),
                error_order: self.nns_error_order.map(Into::into).unwrap_or_default(),
            }),
            Framing::Sample => framing::Framing::Sample(self.sample_data.map(Into::into).unwrap_or_default()),
        })
    }

    /// Whether our own messages are to be signed only.
    pub(crate) fn leaves_readable(&self) -> bool {
        self.nns_protection == Some(NnsProtection::Sign) || self.sample_data == Some(SampleDataName::Signed)
    }
}

impl From<NnsProtection> for Protection {
    fn from(name: NnsProtection) -> Self {
        match name {
            NnsProtection::EncryptAndSign => Self::EncryptAndSign,
            NnsProtection::Sign => Self::Sign,
        }
    }
}

impl From<NnsErrorOrder> for ErrorOrder {
    fn from(name: NnsErrorOrder) -> Self {
        match name {
            NnsErrorOrder::BigEndian => Self::BigEndian,
            NnsErrorOrder::LittleEndian => Self::LittleEndian,
        }
    }
}

impl From<SampleDataName> for SampleData {
    fn from(name: SampleDataName) -> Self {
        match name {
            SampleDataName::Sealed => Self::Sealed,
            SampleDataName::Signed => Self::Signed,
        }
    }
}
