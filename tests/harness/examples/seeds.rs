//! Writes the inputs to begin fuzzing with, one file each: `cargo run -p esker-harness --example seeds -- FOLDER`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "fuzz/seeds".into()));
    let seeds = esker_harness::hostile::seeds();
    for seed in &seeds {
        let folder = folder.join(seed.target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(&seed.name), &seed.input)?;
    }
    println!("{} inputs in {}", seeds.len(), folder.display());
    Ok(())
}
