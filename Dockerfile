# One image for every process; the command chooses which: all-in-one (default), control-plane, sidecar, psp-simulator.
FROM node:24-bookworm-slim AS dependencies
WORKDIR /tollgate
COPY package.json package-lock.json .npmrc ./
# The image has Node 24 itself, so the packages that bring it to other machines are left out.
RUN npm ci --omit=dev --omit=optional --ignore-scripts
# What is in the image, or in a bundle in it, and was written by others: their licences, and the list as CycloneDX.
COPY common ./common
COPY cli ./cli
RUN node cli/third-party.ts THIRD-PARTY-LICENSES.txt && node cli/sbom.ts sbom.cdx.json
# Of the reference at /docs, the bundle that browsers load is all that is needed; what it was made of (300 MB) is in it.
RUN cp -r node_modules/@scalar/api-reference /reference && npm uninstall --omit=dev --omit=optional --ignore-scripts @scalar/api-reference \
  && mkdir -p node_modules/@scalar/api-reference/dist/browser && cd node_modules/@scalar/api-reference \
  && cp /reference/package.json . && cp /reference/dist/index.js dist && cp /reference/dist/browser/standalone.js dist/browser

FROM node:24-bookworm-slim
WORKDIR /tollgate
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
COPY --from=dependencies /tollgate/node_modules ./node_modules
COPY --from=dependencies /tollgate/THIRD-PARTY-LICENSES.txt /tollgate/sbom.cdx.json ./
COPY package.json LICENSE ./
COPY proto ./proto
COPY common ./common
COPY psp-simulator ./psp-simulator
COPY control-plane ./control-plane
COPY sidecar ./sidecar
COPY all-in-one ./all-in-one
COPY cli ./cli
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 8080 50051
# No npm in between, so that SIGTERM reaches the process.
CMD ["node", "all-in-one/main.ts"]
