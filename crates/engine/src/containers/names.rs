//! Names for containers whose users gave none: an adjective and a whale, so that nobody's name is borrowed.

use rorqual_types::ContainerName;

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "bold", "brave", "bright", "brisk", "calm", "clever", "cosmic", "crisp", "curious",
    "daring", "deep", "eager", "early", "easy", "fair", "fleet", "fond", "frosty", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry", "mighty",
    "misty", "modest", "neat", "nimble", "noble", "patient", "placid", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "serene", "sharp", "silent", "silver", "sleek", "smooth", "steady", "still", "sunny", "swift", "tidal",
    "vivid", "warm", "wise",
];

const NOUNS: [&str; 64] = [
    "abyss", "anchor", "atoll", "baleen", "bay", "beluga", "blow", "bluff", "bowhead", "bow", "breach", "breeze",
    "bryde", "calf", "cape", "channel", "coast", "coral", "cove", "current", "deck", "dolphin", "drift", "fin",
    "finback", "fjord", "fluke", "foam", "gale", "gulf", "harbour", "harpoon", "humpback", "island", "keel", "kelp",
    "krill", "lagoon", "mast", "minke", "narwhal", "ocean", "omura", "orca", "pilot", "plankton", "pod", "porpoise",
    "reef", "rorqual", "sail", "sea", "sei", "shoal", "shore", "sound", "sperm", "spout", "spray", "strait", "surf",
    "swell", "tide", "wave",
];

/// A name from random bytes; later attempts end in a number.
pub fn random(bytes: [u8; 32], attempt: u32) -> ContainerName {
    let adjective = ADJECTIVES[usize::from(bytes[0]) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(bytes[1]) % NOUNS.len()];
    let name = match attempt {
        0 => format!("{adjective}_{noun}"),
        1..8 => format!("{adjective}_{noun}{}", bytes[2] % 10),
        _ => format!("{adjective}_{noun}{:02x}{:02x}{:02x}", bytes[2], bytes[3], bytes[4]),
    };
    name.parse().expect("made of letters, digits and one underscore")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_makes_a_valid_name() {
        for attempt in 0..10 {
            for byte in 0..=255 {
                random([byte; 32], attempt);
            }
        }
    }
}
