//! Figures in JSON: a number for each row, and an object with the words that were counted for one with labels. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Figures, ROWS};

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(ROWS.len()))?;
        for (row, counts) in self.rows() {
            if row.words.is_empty() {
                map.serialize_entry(row.key, &counts[0])?;
            } else {
                let counted = row.words.iter().zip(counts).filter(|(_, count)| **count > 0);
                map.serialize_entry(row.key, &counted.collect::<BTreeMap<_, _>>())?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

/// Reads the keys of the table, and passes over others: the object may hold more than figures.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Figures;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with counters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figures, A::Error> {
        let mut figures = Figures::default();
        while let Some(key) = map.next_key::<String>()? {
            let Some((row, counts)) = figures.rows_mut().find(|(row, _)| row.key == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if row.words.is_empty() {
                counts[0] = map.next_value()?;
                continue;
            }
            for (word, count) in map.next_value::<BTreeMap<String, u64>>()? {
                let last = row.words.len() - 1;
                let place = row.words.iter().position(|known| *known == word).unwrap_or(last);
                counts[place] = counts[place].saturating_add(count);
            }
        }
        Ok(figures)
    }
}
