// SPDX-License-Identifier: GPL-2.0

//! Numbers of the wire format that have names in a text.

use rawfuse::abi::{self, init_flags, NotifyCode};
use serde::{de::Error, Deserialize, Deserializer, Serialize, Serializer};

/// What is asked for: by name, or by number where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opcode(pub u32);

/// What a notification says: by name, or by number where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

/// What is agreed on in INIT: names with bars between them, or numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

/// Bytes, as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Opcode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match abi::Opcode::from_u32(self.0) {
            Some(opcode) => to.serialize_str(opcode.name()),
            None => to.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Opcode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let named = abi::Opcode::ALL.iter().find(|each| each.name() == text);
        match named {
            Some(opcode) => Ok(Opcode(*opcode as u32)),
            None => Ok(Opcode(text.parse().map_err(D::Error::custom)?)),
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match NotifyCode::ALL.iter().find(|code| **code as i32 == self.0) {
            Some(code) => to.serialize_str(code.name()),
            None => to.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let named = NotifyCode::ALL.iter().find(|each| each.name() == text);
        match named {
            Some(code) => Ok(Code(*code as i32)),
            None => Ok(Code(text.parse().map_err(D::Error::custom)?)),
        }
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut rest = self.0;
        let mut words = Vec::new();
        for (name, bit) in init_flags::NAMES {
            if rest & bit != 0 {
                rest &= !bit;
                words.push((*name).to_string());
            }
        }
        if rest != 0 {
            words.push(format!("{rest:#x}"));
        }
        to.serialize_str(&words.join("|"))
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut bits = 0;
        for word in text.split('|').filter(|word| !word.is_empty()) {
            let named = init_flags::NAMES.iter().find(|(name, _)| *name == word);
            bits |= match named {
                Some((_, bit)) => *bit,
                None => u64::from_str_radix(word.trim_start_matches("0x"), 16)
                    .map_err(|_| D::Error::custom(format!("{word} is no flag of INIT")))?,
            };
        }
        Ok(Features(bits))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if !text.is_ascii() || text.len() % 2 != 0 {
            return Err(D::Error::custom("bytes are two hexadecimal digits each"));
        }
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom);
        let bytes: Result<_, _> = (0..text.len()).step_by(2).map(byte).collect();
        Ok(Hex(bytes?))
    }
}
