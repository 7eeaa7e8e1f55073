User.create!(name: "alice", password: "wonderland")
