//! Generates the gRPC server of the edge protocol; the messages are those of the schema crate.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["portunus/v1/edge.proto"], ["../schema/proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::act::codec::BoundedCodec")
        .extern_path(".portunus.v1", "::schema::proto")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../schema/proto");
    Ok(())
}
