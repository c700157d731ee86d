# One image for the server and the worker: docker build -t mother .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the layer, so a change of the sources does not build the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin mother \
    && cp target/release/mother /usr/local/bin/mother

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/mother --shell /usr/sbin/nologin mother
COPY --from=build /usr/local/bin/mother /usr/local/bin/mother
USER mother
WORKDIR /var/lib/mother
EXPOSE 8080
# A worker has no port, so the health check of the server stands in docker-compose.yml. What the steps
# need beside a POSIX sh goes into an image of your own that starts FROM this one.
ENTRYPOINT ["mother"]
CMD ["--help"]
