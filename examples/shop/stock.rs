//! The shop's data: `items.json`, the catalogue, and `index.json`, the search index made from it.
//!
//! Both are read for every request, so a repaired index counts from the next request on. A file is
//! replaced by renaming, never rewritten in place: the server reads the old one or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const COLOURS: [&str; 8] = ["amber", "black", "blue", "green", "grey", "red", "white", "yellow"];
const THINGS: [&str; 8] = ["bowl", "chair", "clock", "lamp", "mirror", "table", "teapot", "vase"];

#[derive(Serialize, Deserialize)]
pub(crate) struct Item {
    pub id: u32,
    pub name: String,
    pub price_cents: u32,
    pub in_stock: u32,
}

/// For each word of a name, the ids of the items that have it.
type Index = BTreeMap<String, Vec<u32>>;

/// The folder that holds the data of one shop.
pub(crate) struct Stock {
    dir: PathBuf,
}

impl Stock {
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder of the probes' findings.
    pub(crate) fn probes(&self) -> PathBuf {
        self.dir.join("probes")
    }

    /// Where the server listens, as it published it.
    pub(crate) fn address(&self) -> Result<String> {
        fs::read_to_string(self.dir.join("address"))
    }

    pub(crate) fn publish_address(&self, address: &str) -> Result<()> {
        self.replace("address", address)
    }

    pub(crate) fn items(&self) -> Result<Vec<Item>> {
        self.read("items.json")
    }

    /// The items whose name has the word.
    ///
    /// # Errors
    /// The index names an item that is not in the catalogue.
    pub(crate) fn search(&self, word: &str) -> Result<Vec<Item>> {
        let index: Index = self.read("index.json")?;
        let mut items: BTreeMap<u32, Item> =
            self.items()?.into_iter().map(|item| (item.id, item)).collect();
        let ids = index.get(&word.to_lowercase()).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .map(|id| {
                items.remove(id).ok_or_else(|| {
                    let message = format!("the index names item {id}, which is not for sale");
                    Error::new(ErrorKind::InvalidData, message)
                })
            })
            .collect()
    }

    /// Makes the data the way it came about: an older catalogue is indexed, then a newer one, whose
    /// teapots come from another maker and have other ids, takes its place. Only a `fresh` shop is
    /// indexed again.
    pub(crate) fn seed(&self, fresh: bool) -> Result<Value> {
        fs::create_dir_all(self.probes())?;
        let older = catalogue(49);
        self.write("index.json", &index_of(&older))?;
        let newer = catalogue(101);
        self.write("items.json", &newer)?;
        if fresh {
            self.reindex()?;
        }
        Ok(json!({ "items": newer.len(), "fresh": fresh }))
    }

    /// Rebuilds the index from the catalogue, and says how many words and entries changed.
    pub(crate) fn reindex(&self) -> Result<Value> {
        let old: Index = self.read("index.json").unwrap_or_default();
        let items = self.items()?;
        let new = index_of(&items);
        self.write("index.json", &new)?;
        let changed = new.iter().filter(|(word, ids)| old.get(*word) != Some(ids)).count();
        Ok(json!({ "items": items.len(), "words": new.len(), "changed": changed }))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        Ok(serde_json::from_slice(&fs::read(self.dir.join(name))?)?)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.replace(name, &serde_json::to_string_pretty(value)?)
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.dir.join(format!("{name}.new"));
        fs::write(&draft, text)?;
        fs::rename(draft, self.dir.join(name))
    }
}

/// One item for each colour of each thing, numbered from 1, except that teapots have their own ids.
fn catalogue(first_teapot: u32) -> Vec<Item> {
    let mut items = Vec::new();
    for (thing, number) in THINGS.into_iter().zip((1..).step_by(COLOURS.len())) {
        let price_cents = 950 + 50 * number;
        let first_id = if thing == "teapot" { first_teapot } else { number };
        for (colour, n) in COLOURS.into_iter().zip(0..) {
            let name = format!("{colour} {thing}");
            items.push(Item { id: first_id + n, name, price_cents, in_stock: n + 1 });
        }
    }
    items
}

fn index_of(items: &[Item]) -> Index {
    let mut index = Index::new();
    for item in items {
        for word in item.name.split(' ') {
            index.entry(word.to_owned()).or_default().push(item.id);
        }
    }
    index
}
