// Run by MongoDB's image when its volume is new: a user for each service, with its own database and nothing else.
for (const service of ["ingest", "routing", "sla", "notify"]) {
  const pwd = process.env[`DESKBUS_MONGO_PASSWORD_${service.toUpperCase()}`];
  if (pwd) {
    const roles = [{role: "readWrite", db: `deskbus_${service}`}];
    db.getSiblingDB("admin").createUser({user: service, pwd, roles});
  }
}
