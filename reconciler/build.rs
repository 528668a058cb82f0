//! Generates the gRPC server of the edge protocol; the messages are those of the schema crate.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["portunus/v1/edge.proto"], ["../schema/proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::act::codec::BoundedCodec")
        .extern_path(".portunus.v1", "::schema::proto")
        .compile_fds(descriptors)?;
    // Its requests are small and bounded as a whole. Of the same package, so the file would have the same name.
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names a folder")?).join("enrolment");
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile(["portunus/v1/enrolment.proto"], ["../schema/proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(out)
        .extern_path(".portunus.v1", "::schema::proto")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../schema/proto");
    Ok(())
}
