//! Sets of flags in 32 bits that are shown by their names.

use std::fmt;

/// Gives a type over `pub u32`, which has `NAMES` and `Display`, what sets are asked for.
macro_rules! named_bits {
    ($set:ident) => {
        impl $set {
            /// Whether every bit of `flags` is set.
            #[must_use]
            pub const fn contains(self, flags: Self) -> bool {
                self.0 & flags.0 == flags.0
            }

            /// The bits that are in both.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The bits that are in either.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Writes the names of the bits that are set, with commas between. Returns the bits without a name.
            fn write_names(self, f: &mut std::fmt::Formatter<'_>) -> Result<Self, std::fmt::Error> {
                let names = Self::NAMES.iter().map(|(flag, name)| (flag.0, *name));
                $crate::bits::write_names(f, self.0, names).map(Self)
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($set), "({})"), self)
            }
        }
    };
}

pub(crate) use named_bits;

/// What [`named_bits`] writes the names with.
pub(crate) fn write_names(
    f: &mut fmt::Formatter<'_>,
    bits: u32,
    names: impl Iterator<Item = (u32, &'static str)>,
) -> Result<u32, fmt::Error> {
    let mut separator = "";
    let mut unnamed = bits;
    for (flag, name) in names.filter(|(flag, _)| bits & flag == *flag) {
        write!(f, "{separator}{name}")?;
        separator = ",";
        unnamed &= !flag;
    }
    Ok(unnamed)
}
