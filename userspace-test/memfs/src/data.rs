// SPDX-License-Identifier: GPL-2.0

//! What is in a file: pages, of which those that are nothing but zeroes need not be there.

use std::collections::BTreeMap;

/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pages: BTreeMap<u64, Box<[u8]>>,
    size: u64,
}

/// The parts of `offset..end`, by page: its number, where in it the part begins, and how long it is.
fn parts(offset: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let start = at % PAGE;
        let length = (PAGE - start).min(end.saturating_sub(at));
        let part = (at / PAGE, start as usize, length as usize);
        at += length;
        (length > 0).then_some(part)
    })
}

impl Data {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many pages it has in memory.
    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// How many pages more writing that range would take.
    pub fn new_pages(&self, offset: u64, end: u64) -> u64 {
        let (first, last) = (offset / PAGE, end.div_ceil(PAGE));
        let there = match first < last {
            true => self.pages.range(first..last).count() as u64,
            false => 0,
        };
        last.saturating_sub(first).saturating_sub(there)
    }

    pub fn read(&self, offset: u64, size: u32) -> Vec<u8> {
        let end = offset.saturating_add(size.into()).min(self.size);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        for (number, start, length) in parts(offset, end) {
            match self.pages.get(&number) {
                Some(page) => bytes.extend_from_slice(&page[start..start + length]),
                None => bytes.resize(bytes.len() + length, 0),
            }
        }
        bytes
    }

    /// Writes `bytes` to `offset`, of which the sum is no more than a file may have.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let mut rest = bytes;
        for (number, start, length) in parts(offset, end) {
            let (part, after) = rest.split_at(length);
            let page = self.pages.entry(number);
            let page = page.or_insert_with(|| vec![0; PAGE as usize].into());
            page[start..start + length].copy_from_slice(part);
            rest = after;
        }
        self.size = self.size.max(end);
    }

    /// Makes a range nothing but zeroes.
    pub fn punch(&mut self, offset: u64, end: u64) {
        let end = end.min(self.size.next_multiple_of(PAGE));
        for (number, start, length) in parts(offset, end) {
            match length as u64 {
                PAGE => _ = self.pages.remove(&number),
                _ => {
                    if let Some(page) = self.pages.get_mut(&number) {
                        page[start..start + length].fill(0);
                    }
                }
            }
        }
    }

    pub fn set_size(&mut self, size: u64) {
        self.pages.split_off(&size.div_ceil(PAGE));
        if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
            page[(size % PAGE) as usize..].fill(0);
        }
        self.size = size;
    }
}
