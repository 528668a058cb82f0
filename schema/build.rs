//! Generates the prost messages of the edge protocol. Needs no protoc: protox compiles the file.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["portunus/v1/edge.proto", "portunus/v1/enrolment.proto"], ["proto"])?;
    let mut config = prost_build::Config::new();
    config.skip_source_info();
    config.compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
