//! Generates the gRPC client of the edge protocol; the messages are those of the schema crate.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["portunus/v1/edge.proto", "portunus/v1/enrolment.proto"], ["../schema/proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .extern_path(".portunus.v1", "::schema::proto")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../schema/proto");
    Ok(())
}
