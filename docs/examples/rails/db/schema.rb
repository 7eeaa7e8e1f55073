ActiveRecord::Schema.define do
  create_table :users do |t|
    t.string :name, null: false, index: { unique: true }
    t.string :password_digest, null: false
  end
  create_table :sessions do |t|
    t.references :user, null: false
    t.string :token, null: false, index: { unique: true }
  end
  create_table :orders do |t|
    t.references :buyer, null: false
    t.boolean :shipped, null: false, default: false
  end
end
